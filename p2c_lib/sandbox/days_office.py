"""What all that happens on one business day shares: the people, the dice, the date, and the tally."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from random import Random
from typing import Any, TypeVar

from p2c_lib.sandbox.days_clerks import Fno, Line, Sales
from p2c_lib.sandbox.fno_amounts import EXEMPT

__all__ = ["Goods", "Office"]

T = TypeVar("T")


@dataclass(frozen=True)
class Goods:
    """A product for sale: its number, price, currency, and the decimals of its quantity."""

    number: str
    price: Decimal
    currency: str
    places: int


@dataclass
class Office:
    """One business day at both services.

    Attributes:
        sales: Somebody at Sales.
        fno: Somebody at F&O.
        dice: What is drawn today.
        date: Today.
        day: Its number, from 1.
        seed: Of all days.
        done: What was done today: deed -> how often.
    """

    sales: Sales
    fno: Fno
    dice: Random
    date: date
    day: int
    seed: int
    done: Counter[str] = field(default_factory=Counter)

    def chance(self, share: float) -> bool:
        """Whether something happens that happens in that share of all cases."""
        return self.dice.random() < share

    def some(self, things: Sequence[T], most: int) -> list[T]:
        """A few of these, none to ``most``."""
        return self.dice.sample(things, min(len(things), self.dice.randint(0, most)))

    def amount(self, low: int, high: int) -> Decimal:
        """An amount with two decimals."""
        return Decimal(self.dice.randint(low * 100, high * 100)).scaleb(-2)

    def goods(self) -> list[Goods]:
        """What can be sold: products that came from F&O and are active in Sales, by number."""
        fno = {
            row["ProductNumber"]: row
            for row in self.fno.rows("SellableReleasedProducts", f"dataAreaId eq '{self.fno.company}'")
        }
        known = self.sales.rows(
            "products", "statecode eq 0 and msdynce_ismaintainedexternally eq true", "productnumber,quantitydecimal"
        )
        return [
            Goods(number, fno[number]["SalesPrice"], fno[number]["CurrencyCode"], int(places or 0))
            for number, places in sorted((row["productnumber"], row["quantitydecimal"]) for row in known)
            if number in fno
        ]

    def customers(self, *, exempt: bool | None = None) -> list[dict[str, Any]]:
        """Customers that came from Sales and whose tax F&O has decided, by account.

        Args:
            exempt: True: those that pay no tax; False: those that do; None: all.
        """
        said = f"dataAreaId eq '{self.fno.company}'"
        names = "CustomerAccount,SalesTaxGroup,SalesCurrencyCode,PartyType,IsExternallyMaintained"
        found = [row for row in self.fno.rows("CustomersV2", said, names) if row["IsExternallyMaintained"] == "Yes"]
        found = [row for row in found if row["SalesTaxGroup"]]
        found = [row for row in found if exempt is None or (row["SalesTaxGroup"] == EXEMPT) == exempt]
        return sorted(found, key=lambda row: str(row["CustomerAccount"]))

    def lines(self, goods: Sequence[Goods], currency: str) -> list[Line]:
        """One to five lines of a document; what is listed in another currency gets a price of its own."""
        chosen = self.dice.choices(goods, k=self.dice.randint(1, 5))
        return [self._line(one, currency) for one in chosen]

    def _line(self, goods: Goods, currency: str) -> Line:
        quantity = Decimal(self.dice.randint(1, 24))
        if goods.places and self.chance(0.5):
            quantity = Decimal(self.dice.randint(1, 24 * 10**goods.places)).scaleb(-goods.places)
        price = None if goods.currency == currency and self.chance(0.8) else self.amount(1, 900)
        worth = quantity * (goods.price if price is None else price)
        discount = Decimal(0)
        if worth > 1 and self.chance(0.4):
            discount = Decimal(self.dice.randint(1, int(worth * 30))).scaleb(-2)  # up to 30 %
        return {"product": goods.number, "quantity": quantity, "price": price, "discount": discount}
