"""The browser that tests use lets no page reach outside; what it does in JupyterLab, the explorer's test shows."""

import pytest
from browser import needs_chromium, page


@needs_chromium
def test_a_page_that_asks_for_anything_outside_fails_its_test():
    with pytest.raises(AssertionError, match=r"outside\.invalid/picture\.png"), page() as (tab, seen):
        tab.set_content('<img src="http://outside.invalid/picture.png">')
    assert any("ERR_NAME_NOT_RESOLVED" in error for error in seen.errors)
