"""Reports of an audit.

- `report`: JSON, JUnit and one HTML page.
- `page`: the page's template.
- `svg`: its drawings.
"""
