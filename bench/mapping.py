"""Time the mapping of one million rows of every task; run as ``python bench/mapping.py [rows]``.

The rows are made here, with the columns and dtypes that reading gives; nothing is fetched. Prints the median of three
runs, rows a second, and the peak memory of the process.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from decimal import Decimal

import polars as pl

from p2c_lib import mapping
from p2c_lib.connect.metadata import Column, Entity
from p2c_lib.model import Task, all_tasks, load_templates
from p2c_lib.pull import MONEY

COUNTRIES = ["Germany", "DE", "usa", " United States ", "Italia", "", None]
FLAGS = {"donotemail", "msdynce_isactivecustomer", "msdynce_iscompanyanaccount"}
WHOLES = {"numberofemployees", "gendercode", "familystatuscode", "statecode", "SalesUnitDecimalPrecision"}
AMOUNTS = {"creditlimit", "SalesPrice", "UnitCost"}
CODES = {
    "ProductType": ["Item", "Service"],
    "IsStockedProduct": ["Yes", "No"],
    "SalesUnitSymbol": ["ea", "PCS", "kg"],
    "address1_country": COUNTRIES,
    "address2_country": COUNTRIES,
    "transactioncurrencyid.isocurrencycode": ["USD", "eur", "GBP"],
}
DESTINATION_TYPES = {
    **dict.fromkeys(["CreditLimit", "price", "currentcost"], "Edm.Decimal"),
    **dict.fromkeys(["OrganizationNumberOfEmployees", "producttypecode", "quantitydecimal"], "Edm.Int32"),
    **dict.fromkeys(["isstockitem", "msdynce_ismaintainedexternally"], "Edm.Boolean"),
}


def source_rows(task: Task, height: int) -> pl.DataFrame:
    number = pl.int_range(height, dtype=pl.Int32)
    columns = []
    for name in mapping.source_columns(task):
        if name in FLAGS:
            column = number % 3 == 0
        elif name in WHOLES:
            column = number % 2
        elif name in AMOUNTS:
            column = (number * Decimal("0.37")).cast(MONEY)
        elif name in CODES:
            values = pl.Series(CODES[name])
            column = pl.lit(values).gather(number % len(values))
        elif name in task.key.values():
            column = pl.format("ACC-{}-ABCDEF", number)
        else:
            column = pl.when(number % 4 != 0).then(pl.format("some text {}", number % 10_000))
        columns.append(column.alias(name))
    return pl.select(columns)


def destination(task: Task) -> Entity:
    names = [name for name in mapping.destination_columns(task) if "." not in name]
    columns = {n: Column(n, DESTINATION_TYPES.get(n, "Edm.String"), n not in DESTINATION_TYPES) for n in names}
    return Entity(task.destination.entity, task.destination.entity, tuple(task.key), columns)


def main(height: int) -> None:
    for task in all_tasks(load_templates()):
        source, entity = source_rows(task, height), destination(task)
        seconds = []
        for _ in range(3):
            clock = time.perf_counter()
            mapped = mapping.expected(source, task, entity)
            mapping.filter_outcome(source, task)
            seconds.append(time.perf_counter() - clock)
        median, peak = statistics.median(seconds), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{task.name:22} {height:>9,} rows x {mapped.rows.width} columns  {median:6.2f} s  "
            f"{height / median:>11,.0f} rows/s  unmapped {mapped.unmapped.height:,}  peak {peak:,.0f} MB"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
