"""The job: what the API and the workers share."""
