"""What figures say, that they need nothing from outside, and that they stand beside each other in a page."""

import re
from decimal import Decimal

import polars as pl
import pytest

from p2c_lib import charts
from p2c_lib.diff import FIELD_OUTCOMES, ROW_OUTCOMES
from p2c_lib.errors import SchemaError
from p2c_lib.funnel import STANDINGS

OUTCOMES = pl.DataFrame(
    {
        "task": ["accounts", "contacts"],
        "source_rows": [1_000_005, 10],
        "matched": [1_000_000, 7],
        "mismatched": [0, 3],
        "missing": [5, 0],
        "extra": [0, 0],
        "excluded": [0, 0],
        "blocked": [0, 0],
    }
)
FIELDS = pl.DataFrame(
    {
        "task": ["accounts"] * 3,
        "field": ["CreditLimit", "AddressCity", "CreditLimit"],
        "outcome": ["different", "representation", "rounding"],
        "rows": [4, 9, 7],
    },
    schema_overrides={"rows": pl.UInt32},
)
MONEY = pl.DataFrame(
    {
        "task": ["accounts", "accounts", "products"],
        "currency": ["USD", "EUR", "USD"],
        "amount": ["123456789012345.67", "100", "12.5"],
    }
)
ROUTES = pl.DataFrame(
    {
        "route": ["CDSContactPersons (contacts)", "not synchronised"],
        "reason": [None, "the contact's company is not an account"],
        "rows": [1234, 5],
    }
)
STAGES = pl.DataFrame(
    {
        "stage": ["orders made", "orders made", "orders made", "orders confirmed"],
        "system": ["sales", "sales", "fno", "sales"],
        "documents": [1200, 34, 7, 0],
    },
    schema_overrides={"documents": pl.UInt32},
)
STATUSES = pl.DataFrame(
    {
        "status": ["Active", "Active", "Active", "Cancelled"],
        "system": ["sales", "sales", "fno", "fno"],
        "standing": ["in step", "Sales behind", "in step", "cancelled on one side"],
        "documents": [1000, 34, 1000, 5],
    },
    schema_overrides={"documents": pl.UInt32},
)
FIGURES = {
    charts.funnel_bars: STAGES,
    charts.lifecycle_bars: STATUSES,
    charts.outcome_bars: OUTCOMES,
    charts.field_bars: FIELDS,
    charts.amount_by_currency: MONEY,
    charts.routing: ROUTES,
}
each_figure = pytest.mark.parametrize(
    ("draw", "frame"), FIGURES.items(), ids=lambda part: getattr(part, "__name__", "")
)
# Names of XML vocabularies look like addresses and are never fetched.
NAMESPACES = re.compile(r'xmlns(:\w+)?="http://www\.w3\.org/[^"]*"')


def texts(html: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", html)


@each_figure
def test_a_figure_loads_nothing_and_runs_nothing(draw, frame):
    html = NAMESPACES.sub("", charts.static_html(draw(frame)))
    assert html.startswith("<svg ")
    assert html.rstrip().endswith("</svg>")
    assert not re.search(r"https?:|//|<script|<image|@import|src=|\bon\w+=", html)


@each_figure
def test_equal_frames_give_equal_figures_and_the_frame_is_left_alone(draw, frame):
    before = frame.clone()
    assert charts.static_html(draw(frame)) == charts.static_html(draw(frame))
    assert frame.equals(before)


@each_figure
def test_a_frame_without_rows_gives_a_figure_without_bars(draw, frame):
    html = charts.static_html(draw(frame.clear()))
    assert html.startswith("<svg ")
    assert not re.search(r'aria-roledescription="bar"', html)


@each_figure
def test_a_frame_without_a_needed_column_is_refused_by_name(draw, frame):
    lacking = {"outcome_bars": "task", "field_bars": "rows", "amount_by_currency": "currency", "routing": "reason"}
    lacking |= {"funnel_bars": "documents", "lifecycle_bars": "standing"}
    with pytest.raises(SchemaError, match=rf"no column {lacking[draw.__name__]}"):
        draw(frame.drop(lacking[draw.__name__]))


def test_outcomes_show_every_count_in_full():
    shown = texts(charts.static_html(charts.outcome_bars(OUTCOMES)))
    assert {"1,000,000", "7", "3", "5", "accounts", "contacts", *ROW_OUTCOMES} <= set(shown)
    assert "source_rows" not in shown


def test_a_frame_of_one_task_may_lack_outcomes():
    shown = texts(charts.static_html(charts.outcome_bars(OUTCOMES.select("task", "matched").head(1))))
    assert sorted(shown) == ["1,000,000", "accounts", "matched"]


def test_fields_are_ordered_by_all_their_differences():
    shown = texts(charts.static_html(charts.field_bars(FIELDS)))
    assert [text for text in shown if text in ("CreditLimit", "AddressCity")] == ["CreditLimit", "AddressCity"]
    assert {"11", "9"} <= set(shown)


def test_fields_of_several_tasks_carry_the_task():
    frame = FIELDS.with_columns(task=pl.Series(["accounts", "accounts", "contacts"]))
    assert {"accounts: CreditLimit", "contacts: CreditLimit"} <= set(
        texts(charts.static_html(charts.field_bars(frame)))
    )


@pytest.mark.parametrize("dtype", [pl.String, pl.Decimal(38, 12)])
def test_amounts_are_printed_to_the_last_digit_and_not_added_across_currencies(dtype):
    shown = texts(charts.static_html(charts.amount_by_currency(MONEY.with_columns(pl.col("amount").cast(dtype)))))
    assert {"123,456,789,012,345.67 USD", "100.00 EUR", "12.50 USD", "USD", "EUR"} <= set(shown)


def test_amounts_of_one_task_and_currency_are_added_exactly():
    frame = pl.DataFrame({"currency": ["USD", "USD"], "amount": [Decimal("0.1"), Decimal("0.2")]})
    assert "0.30 USD" in texts(charts.static_html(charts.amount_by_currency(frame)))


def test_an_amount_that_is_no_number_is_refused():
    with pytest.raises(SchemaError, match="'amount' holds something that is no amount"):
        charts.amount_by_currency(pl.DataFrame({"currency": ["USD"], "amount": ["12,5 kr"]}))


def test_routes_say_how_many_rows_go_where_and_why():
    shown = " | ".join(texts(charts.static_html(charts.routing(ROUTES))))
    assert "1,234 taken by this task" in re.sub(r"\s+", " ", shown)
    assert "5 the contact's company is not an account" in re.sub(r"\s+", " ", shown.replace("&#39;", "'"))


def test_a_stage_shows_the_documents_of_each_side_with_those_of_all_currencies_together():
    shown = texts(charts.static_html(charts.funnel_bars(STAGES)))
    assert {"Sales", "F&amp;O", "orders made", "1,234", "7", "orders confirmed", "0"} <= set(shown)
    assert "1,200" not in shown


def test_a_status_shows_all_its_documents_and_a_legend_of_the_standings_there_are():
    shown = texts(charts.static_html(charts.lifecycle_bars(STATUSES)))
    assert {"1,034", "1,000", "5", "Active", "Cancelled", "Sales behind", "cancelled on one side"} <= set(shown)
    assert "Sales ahead" not in shown


@pytest.mark.parametrize(
    "name",
    [
        "customerid.Account(accountnumber).Contact(msdynce_contactnumber)",
        "a reason in so many words that it does not fit beside one bar, on one line",
    ],
)
def test_a_long_name_is_shown_whole_in_several_lines(name):
    drawn = charts.static_html(charts.field_bars(FIELDS.head(1).with_columns(field=pl.lit(name))))
    lines = [text.replace("&#39;", "'") for text in re.findall(r"<tspan[^>]*>([^<]*)</tspan>", drawn)] or texts(drawn)
    told = [line for line in lines if line and line in name]
    assert "".join(told).replace(" ", "") == name.replace(" ", "") and len(told) > 1
    assert max(map(len, told)) < 50 and "…" not in drawn


def test_amounts_are_shown_by_reason_when_asked_for():
    frame = pl.DataFrame({"reason": ["lost", "lost"], "currency": ["USD", "USD"], "amount": ["1", "2.50"]})
    assert {"lost", "3.50 USD"} <= set(texts(charts.static_html(charts.amount_by_currency(frame, by="reason"))))


def test_markup_in_data_is_shown_and_not_obeyed():
    frame = FIELDS.with_columns(field=pl.lit("<script>alert(1)</script>"))
    html = charts.static_html(charts.field_bars(frame))
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_two_figures_of_a_page_share_no_inner_name():
    import altair as alt

    def clipped(n: int) -> str:
        chart = alt.Chart(pl.DataFrame({"x": [n]})).mark_bar(clip=True).encode(x="x:Q")
        return charts.static_html(chart)

    first, second = (set(re.findall(r'\bid="([^"]+)"', clipped(n))) for n in (1, 2))
    assert first and second
    assert not first & second
    drawn = clipped(1)
    assert set(re.findall(r"url\(#([^)]+)\)", drawn)) <= set(re.findall(r'\bid="([^"]+)"', drawn))


def test_a_notebook_gets_markup_a_picture_and_words():
    bundle = charts.mimebundle(charts.outcome_bars(OUTCOMES))
    assert set(bundle) == {"text/html", "image/svg+xml", "text/plain"}
    assert bundle["text/plain"] == "Rows of 2 tasks by outcome"
    assert bundle["image/svg+xml"].startswith("<svg")


@pytest.mark.parametrize(
    ("colours", "outcomes"),
    [
        (charts.ROW_COLOURS, ROW_OUTCOMES),
        (charts.FIELD_COLOURS, FIELD_OUTCOMES),
        # a pair is in step where statuses travel, and on both sides where they do not: never both in one figure
        (charts.STANDING_COLOURS, STANDINGS),
    ],
    ids=["rows", "fields", "documents"],
)
def test_every_outcome_has_a_colour_that_colour_blind_people_tell_apart(colours, outcomes):
    assert tuple(colours) == tuple(outcomes)
    # Linear RGB as seen without one kind of cone (Vienot, Brettel and Mollon 1999), and as grey.
    blind = {
        "protanopia": ((0.11238, 0.88762, 0.0), (0.11238, 0.88762, 0.0), (0.00401, -0.00401, 1.0)),
        "deuteranopia": ((0.29275, 0.70725, 0.0), (0.29275, 0.70725, 0.0), (-0.02234, 0.02234, 1.0)),
    }
    apart = {name: code for name, code in colours.items() if name != "on both sides"}
    for kind, matrix in blind.items():
        seen = {}
        for name, code in apart.items():
            linear = [(int(code[i : i + 2], 16) / 255) ** 2.2 for i in (1, 3, 5)]
            seen[name] = [max(sum(m * c for m, c in zip(row, linear, strict=True)), 0) ** (1 / 2.2) for row in matrix]
        pairs = [(a, b) for a in seen for b in seen if a < b]
        near = {(a, b): sum((x - y) ** 2 for x, y in zip(seen[a], seen[b], strict=True)) ** 0.5 for a, b in pairs}
        assert min(near.values()) > 0.15, (kind, min(near, key=near.__getitem__))
