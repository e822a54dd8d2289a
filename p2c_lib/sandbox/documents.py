"""Quotes, orders and invoices of both systems in agreement: what the eight tasks of documents have to find in step.

What the templates and both services go by:

- Quotes flow with ``statecode`` 1 and only externally maintained products; their lines by the line's own copies
  ``quotestatecode`` and ``msdynce_quotehasexternalmaintainedproductsonly``. F&O's quotations are the task's business
  while ``SalesQuotationHeaderCreationMethod`` (lines: ``SalesQuotationLineCreationMethod``) is Dynamics365Sales and
  ``SalesQuotationStatus`` is Created or Sent. A quote that is won or closed in Sales is closed in F&O as well.
  A revised quote keeps its number beside the active one.
- Orders flow out with processing status Active, only externally maintained products, not maintained externally; their
  lines with ``msdynce_orderhasexternalmaintainedproductsonly``, ``msdynce_orderissubmitted`` and the header's
  processing status Active and flag (``salesorderid.msdynce_...``). Not any more once F&O has confirmed them. F&O's rows
  are the task's business while ``SalesOrderProcessingStatus`` is Active and ``SalesOrderOriginType`` is
  SalesOrderIntegration: those that P2C made.
- Orders flow back with both customer flags Yes, totals updated, processing status not Active. Rows of Sales are the
  task's business when the header has ``msdynce_ismaintainedexternally`` (lines: ``salesorderid.``, and no
  ``msdynce_ismisctax``). All lines of orders carry ``msdynce_ordernumber``, those of invoices Sales made no number.
- A line without ``sequencenumber`` has a blank key, not number 0.
- Every invoice of F&O flows. Rows of Sales are the task's business when the header has ``msdynce_invoicedate`` (lines:
  ``msdynce_invoicenumber``, and no ``msdynce_ismisctax``): P2C alone fills them.
- Totals in F&O: ``OrderTotalTaxAmount`` and the invoice's ``TotalTaxAmount`` are lines' tax and header tax together,
  ``totaltax`` in Sales is the lines' tax alone (the header tax is the write-in line Freight Tax, ``msdynce_misctax``).
  A header's ``TotalDiscountAmount`` (invoice: and ``TotalDiscountCustomerGroupCode``) is the discount of the whole
  document, ``discountamount`` and ``totaldiscountamount`` in Sales. ``LineAmount`` is without tax, with line discount.
  Customers of quotes and of orders that were only sent pay no tax (``SalesTaxGroup`` EXEMPT): so F&O's totals equal
  those of Sales also after "calculate sales totals". They are not up to date yet.
- An order with an invoice has state Invoiced (4/100003) in Sales, every other one that came back 0/1, so state and
  status reason of orders are constants at creation: other found values are right as well. Invoices are 0/4 (Billed).
- Texts under ``normalise: [trim, case]``: names, descriptions, references, cities, streets.
- Parents: customer (header), product and header (line), order (invoice header).
"""

from __future__ import annotations

import polars as pl

from p2c_lib.sandbox.documents_invoices import invoices
from p2c_lib.sandbox.documents_orders import fno_orders, order_facts, sales_orders
from p2c_lib.sandbox.documents_parts import Masters, masters
from p2c_lib.sandbox.documents_quotes import quotes
from p2c_lib.sandbox.draw import Draw
from p2c_lib.sandbox.fno_amounts import EXEMPT

__all__ = ["Masters", "documents", "masters", "with_tax_groups"]

QUOTES_PER_ORDER = 0.5


def documents(draw: Draw, n: int, masters: Masters) -> tuple[dict[str, pl.DataFrame], dict[str, pl.DataFrame]]:
    """Documents of both systems, without any difference.

    Args:
        draw: Stream to draw from.
        n: Orders; about half as many quotes come with them, and an invoice for each order that was invoiced.
        masters: Customers and products to refer to; without any, there are no documents.

    Returns:
        Frames of Sales and of F&O by entity set.
    """
    if n == 0 or masters.parties.is_empty() or masters.goods.is_empty():
        return {}, {}
    heads, lines = order_facts(draw, n, masters)
    sold = sales_orders(draw, heads, lines)
    invoiced = invoices(draw, heads, lines, sold["salesorders"])
    sales_quotes, fno_quotes = quotes(draw, max(1, round(n * QUOTES_PER_ORDER)), masters)
    return sales_quotes | sold | invoiced[0], fno_quotes | fno_orders(heads, lines) | invoiced[1]


def with_tax_groups(customers: pl.DataFrame, masters: Masters) -> pl.DataFrame:
    """The customers of F&O with the tax group of those that pay no tax."""
    exempt = pl.col("CustomerAccount").is_in(masters.parties.filter("exempt")["number"].implode())
    return customers.with_columns(SalesTaxGroup=pl.when(exempt).then(pl.lit(EXEMPT)).otherwise(pl.lit("")))
