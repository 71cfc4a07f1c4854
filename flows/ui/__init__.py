"""What people see: the terminal's lines, the form and the pages in Prefect's UI, a batch's page, `pick`, and the 3-D view."""
