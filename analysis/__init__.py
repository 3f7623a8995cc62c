"""The mathematics: measure, layer by layer, how features collapse. No web, SQL, queue or environment in here."""
