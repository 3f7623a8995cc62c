"""A report as one page that needs nothing else: to be read, printed, and sent to a colleague."""

from api.report_page.page import POLICY, chosen_figures, page
from api.report_page.pictures import Figure

__all__ = ["POLICY", "Figure", "chosen_figures", "page"]
