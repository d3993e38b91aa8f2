"""A report as people and machines read it: a table, JUnit XML, a page."""
