"""What a failed task says of itself: the cause in words, the place, and the error's own message."""

import pytest

from p2c_lib import errors


def test_every_error_class_has_a_cause_in_words():
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.P2CError)]
    unsaid = [c.__name__ for c in classes if "an error of this program" in errors.in_words(c.__name__, "")]
    assert len(classes) > 10 and unsaid == []


@pytest.mark.parametrize(
    ("kind", "where", "told"),
    [
        ("ServiceError", "", "the service failed (ServiceError): 503"),
        (
            "ServiceError",
            "cell 5 of accounts.ipynb",
            "the service failed (ServiceError), cell 5 of accounts.ipynb: 503",
        ),
        ("KeyError", "cell 2 of a.ipynb", "an error of this program (KeyError), cell 2 of a.ipynb: 503"),
        ("P2CError", "", "503"),
        ("P2CError", "cell 1 of a.ipynb", "cell 1 of a.ipynb: 503"),
    ],
)
def test_cause_class_place_and_message_stand_in_that_order(kind, where, told):
    assert errors.in_words(kind, "503", where) == told
