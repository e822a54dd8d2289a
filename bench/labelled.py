"""Two lists of companies or persons that share some, with the truth: typed twice by different hands, not copied.

Of the rows of a side three fifths are in the other list too, typed anew: letters left out, put in, swapped or wrong,
accents lost, capitals only, words moved, legal forms and streets abbreviated or left out, telephone numbers written
otherwise, addresses of before a move, mail and telephone missing or changed. One fifth is like a row of the other list
and another one all the same: a branch of the same company in another place, often with the same mailbox or switchboard;
a member of the family at the same address, often with the same telephone. One fifth is on this side alone.
"""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from p2c_lib.sandbox import people

SAME, ALIKE = 0.6, 0.2
_SYLLABLES = [
    "al",
    "ber",
    "cor",
    "dan",
    "el",
    "fen",
    "gar",
    "hol",
    "in",
    "jun",
    "kan",
    "lor",
    "mar",
    "nor",
    "os",
    "pel",
    "qui",
    "ros",
    "sil",
    "tor",
    "ul",
    "ver",
    "wen",
    "xan",
    "yor",
    "zel",
    "bra",
    "cle",
    "dro",
    "fri",
]
_MORE_LAST = [
    "Becker",
    "Hoffmann",
    "Schäfer",
    "Koch",
    "Bauer",
    "Richter",
    "Klein",
    "Wolf",
    "Neumann",
    "Schwarz",
    "Zimmermann",
    "Taylor",
    "Evans",
    "Walker",
    "Robinson",
    "Thompson",
    "Hall",
    "Allen",
    "Young",
    "King",
    "Martin",
    "Bernard",
    "Robert",
    "Petit",
    "Durand",
    "Leroy",
    "Moreau",
    "Simon",
    "Laurent",
    "Michel",
    "Rossi",
    "Russo",
    "Ferrari",
    "Esposito",
    "Bianchi",
    "Sharma",
    "Gupta",
    "Mehta",
    "Iyer",
    "Suzuki",
    "Sato",
    "Watanabe",
    "Johnson",
    "Williams",
    "Davis",
    "Miller",
    "Wilson",
    "Moore",
    "Anderson",
    "Jackson",
    "Harris",
    "Clark",
    "Lewis",
    "Campbell",
    "Stewart",
    "Murphy",
    "Kelly",
    "Byrne",
    "Jansen",
    "de Vries",
    "Visser",
    "Nielsen",
    "Hansen",
    "Pedersen",
    "Larsen",
    "Novák",
    "Nowak",
    "Wiśniewski",
    "Horváth",
    "Kiss",
]
_MORE_FIRST = [
    "Peter",
    "Michael",
    "Andreas",
    "Stefan",
    "Christian",
    "Martin",
    "Claudia",
    "Sabine",
    "Petra",
    "Monika",
    "Julia",
    "Laura",
    "Lena",
    "Lukas",
    "Felix",
    "Paul",
    "Emma",
    "Mia",
    "James",
    "John",
    "Robert",
    "David",
    "Richard",
    "Joseph",
    "Charles",
    "Daniel",
    "Matthew",
    "Susan",
    "Linda",
    "Karen",
    "Nancy",
    "Lisa",
    "Betty",
    "Pierre",
    "Jean",
    "Louis",
    "Camille",
    "Manon",
    "Hugo",
    "Jules",
    "Marco",
    "Luca",
    "Giulia",
    "Carlos",
    "Lucía",
    "Rahul",
    "Anjali",
    "Deepak",
    "Hiroshi",
    "Naoko",
    "Erik",
    "Ingrid",
    "Jan",
    "Pieter",
    "Katarzyna",
]
LAST = (*people.LAST_NAMES, *_MORE_LAST)
FIRST = (*people.FIRST_NAMES, *_MORE_FIRST)
_FORMS = {
    "GmbH": ("Gesellschaft mbH", "G.m.b.H.", "GMBH", ""), "AG": ("A.G.", "Aktiengesellschaft", ""), "KG": ("K.G.", ""),
    "GmbH & Co. KG": ("GmbH und Co KG", "GmbH & Co", "GmbH&Co.KG"), "Inc.": ("Inc", "Incorporated", ""),
    "LLC": ("L.L.C.", "Llc", ""), "Corp.": ("Corporation", "Corp", ""), "Co.": ("Company", "Co", ""),
    "S.A.S.": ("SAS", "Sas", ""), "S.A.": ("SA", "Société Anonyme", ""), "SARL": ("S.A.R.L.", "Sarl", ""),
    "Ltd": ("Limited", "Ltd.", "LTD", ""), "plc": ("PLC", "P.L.C.", ""), "LLP": ("L.L.P.", ""),
    "K.K.": ("KK", "Kabushiki Kaisha", ""), "G.K.": ("GK", ""), "Pvt. Ltd.": ("Private Limited", "Pvt Ltd", "Ltd"),
    "Ltd.": ("Limited", "Ltd", ""), "Pty Ltd": ("Pty. Ltd.", "Proprietary Limited", ""),
    "Ltée": ("Ltee", "Limitée", ""),
}  # fmt: skip
_STREETS = {
    "straße": ("str.", "strasse", "str"), "Straße": ("Str.", "Strasse"), " Street": (" St.", " St", " Str"),
    " Road": (" Rd", " Rd."), " Avenue": (" Ave", " Av."), "avenue ": ("av. ", "Av "), " Boulevard": (" Blvd", " Bd"),
    "rue ": ("r. ", "Rue "), "allee": ("all.",), " Square": (" Sq", " Sq."), "weg ": ("w. ", "weg "),
}  # fmt: skip
_KEYS = "qwertyuiop asdfghjkl zxcvbnm"


@dataclass(frozen=True)
class Kind:
    """A kind of list: its task, and the destination columns of what a `Row` holds."""

    task: str
    columns: dict[str, str]


ACCOUNTS = Kind(
    "accounts",
    {
        "name": "OrganizationName", "street": "AddressStreet", "city": "AddressCity", "postcode": "AddressZipCode",
        "country": "AddressCountryRegionISOCode", "mail": "PrimaryContactEmail", "phone": "PrimaryContactPhone",
    },
)  # fmt: skip
CONTACTS = Kind(
    "contacts",
    {
        "given": "FirstName", "family": "LastName", "street": "PrimaryAddressStreet", "city": "PrimaryAddressCity",
        "postcode": "PrimaryAddressZipCode", "country": "PrimaryAddressCountryRegionISOCode",
        "mail": "PrimaryEmailAddress", "phone": "PrimaryPhoneNumber",
    },
)  # fmt: skip
KINDS = {kind.task: kind for kind in (ACCOUNTS, CONTACTS)}


@dataclass(frozen=True)
class Row:
    """One company or person as somebody wrote it; the parts that its kind has not are empty."""

    name: str = ""
    form: str = ""
    given: str = ""
    family: str = ""
    street: str = ""
    city: str = ""
    postcode: str = ""
    country: str = ""
    mail: str = ""
    phone: str = ""
    region: int = 0


@dataclass
class Labelled:
    """Both lists, keyed, and the pairs that are the same: ``source_key``, ``destination_key``."""

    source: pl.DataFrame
    destination: pl.DataFrame
    truth: pl.DataFrame = field(default_factory=pl.DataFrame)


def labelled(task: str, rows: int, seed: int) -> Labelled:
    """Make two lists of a task's rows.

    Args:
        task: ``accounts`` (companies) or ``contacts`` (persons).
        rows: Of each list.
        seed: Equal seeds give equal lists.

    Returns:
        The lists, with ``key`` and the destination columns of the task, all String; and the truth.
    """
    kind, dice = KINDS[task], random.Random(f"{task} {seed}")
    make = _company if task == "accounts" else _person
    like = _branch if task == "accounts" else _relative
    same, alike = int(rows * SAME), int(rows * ALIKE)
    shared = [make(dice) for _ in range(same)]
    source = [*shared, *(make(dice) for _ in range(rows - same))]
    others = [like(row, dice) for row in source[same : same + alike]]
    fresh = [make(dice) for _ in range(rows - same - alike)]
    destination = [
        *(_typed_again(row, dice) for row in shared),
        *(_typed_again(row, dice) for row in (*others, *fresh)),
    ]
    left = _frame(source, kind, "S", dice)
    right = _frame(destination, kind, "D", dice)
    truth = left.head(same).select(source_key="key").hstack(right.head(same).select(destination_key="key"))
    return Labelled(
        left.sample(fraction=1, shuffle=True, seed=seed), right.sample(fraction=1, shuffle=True, seed=seed + 1), truth
    )


def _frame(rows: list[Row], kind: Kind, letter: str, dice: random.Random) -> pl.DataFrame:
    numbers = dice.sample(range(10_000_000), len(rows))
    columns: dict[str, list[str | None]] = {"key": [f"{letter}{number:07d}" for number in numbers]}
    for part, column in kind.columns.items():
        columns[column] = [_whole_name(row) if part == "name" else getattr(row, part) or None for row in rows]
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))


def _whole_name(row: Row) -> str | None:
    return " ".join(part for part in (row.name, row.form) if part) or None


# --- as they are -------------------------------------------------------------------------------------------------


def _word(dice: random.Random) -> str:
    return "".join(dice.choice(_SYLLABLES) for _ in range(dice.choice((2, 2, 3)))).capitalize()


def _place(dice: random.Random) -> dict[str, Any]:
    number = dice.choices(range(len(people.REGIONS)), (42, 20, 10, 10, 4, 5, 4, 5))[0]
    region = people.REGIONS[number]
    city, _, postcode = dice.choice(region.places)
    if postcode and postcode[-1].isdigit():  # a city has many
        postcode = postcode[:-2] + f"{dice.randrange(100):02d}"
    own = {1: f"{dice.choice(LAST)}straße {{}}", 2: f"{{}} rue {dice.choice(LAST)}"}
    made = own.get(number, f"{{}} {dice.choice(LAST)} {dice.choice(('Street', 'Road', 'Avenue', 'Lane'))}")
    pattern = dice.choice((made, made, made, dice.choice(region.streets)))
    street = pattern.format(dice.randrange(1, 400))
    return {"street": street, "city": city, "postcode": postcode or "", "region": number, "country": region.iso}


def _phone(region: int, dice: random.Random) -> str:
    return f"{people.REGIONS[region].phone} {dice.randrange(100, 1000)} {dice.randrange(1_000_000):06d}"


def _ascii(text: str) -> str:
    text = text.replace("ß", "ss").replace("ø", "o").replace("ł", "l").replace("Ł", "L").replace("Ø", "O")
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


def _company(dice: random.Random) -> Row:
    place = _place(dice)
    trade, kind = dice.choice(people.TRADES), dice.random()
    if kind < 0.25:
        name = f"{dice.choice(people.BRANDS)} {trade}"
    elif kind < 0.55:
        name = f"{dice.choice(LAST)} {dice.choice(('', '', '& Söhne', '& Sons', 'Frères', 'Brothers'))} {trade}"
    elif kind < 0.9:
        name = f"{_word(dice)} {trade if dice.random() < 0.7 else ''}"
    else:
        name = f"{place['city']} {trade}"
    name = " ".join(name.split())
    domain = "".join(letter for letter in _ascii(name).lower() if letter.isalnum())[:24]
    mailbox = dice.choice(("info", "office", "einkauf", "accounts", "sales"))
    return Row(
        name=name,
        form=dice.choice(people.REGIONS[place["region"]].legal_forms),
        mail=f"{mailbox}@{domain}.example" if dice.random() < 0.85 else "",
        phone=_phone(place["region"], dice) if dice.random() < 0.9 else "",
        **place,
    )


def _person(dice: random.Random) -> Row:
    place, given, family = _place(dice), dice.choice(FIRST), dice.choice(LAST)
    if dice.random() < 0.06:
        family = f"{family}-{dice.choice(LAST)}"
    local = f"{_ascii(given)}.{_ascii(family)}".lower().replace(" ", "").replace("'", "")
    number = str(dice.randrange(1, 99)) if dice.random() < 0.5 else ""
    host = dice.choice(("mail.example", "post.example", "web.example", f"{_word(dice).lower()}.example"))
    return Row(
        given=given,
        family=family,
        mail=f"{local}{number}@{host}" if dice.random() < 0.85 else "",
        phone=_phone(place["region"], dice) if dice.random() < 0.8 else "",
        **place,
    )


def _branch(row: Row, dice: random.Random) -> Row:
    """Another house of the same company."""
    place = _place(dice)
    if dice.random() < 0.3:  # in the same town
        place |= {"city": row.city, "country": row.country, "region": row.region}
    name = f"{row.name} {place['city']}" if dice.random() < 0.2 else row.name
    mail = row.mail if dice.random() < 0.5 else row.mail.replace("@", "2@") if dice.random() < 0.5 else ""
    phone = row.phone if dice.random() < 0.1 else _phone(place["region"], dice) if dice.random() < 0.9 else ""
    return replace(row, name=name, mail=mail, phone=phone, **place)


def _relative(row: Row, dice: random.Random) -> Row:
    """Another person of the same house, or of the same name somewhere else."""
    if dice.random() < 0.2:
        place = _place(dice)
        return replace(_person(dice), given=row.given, family=row.family, phone=_phone(place["region"], dice), **place)
    given = dice.choice([name for name in FIRST if name != row.given])
    local = f"{_ascii(given)}.{_ascii(row.family)}".lower().replace(" ", "").replace("'", "")
    mail = row.mail if dice.random() < 0.1 else f"{local}@mail.example" if dice.random() < 0.7 else ""
    phone = row.phone if dice.random() < 0.5 else _phone(row.region, dice) if dice.random() < 0.8 else ""
    return replace(row, given=given, mail=mail, phone=phone)


# --- as somebody typed them --------------------------------------------------------------------------------------


def _typo(text: str, dice: random.Random) -> str:
    """One slip of the fingers."""
    if len(text) < 3:
        return text
    at = dice.randrange(len(text) - 1)
    letter = dice.choice("abcdefghijklmnopqrstuvwxyz")
    row = next((keys for keys in _KEYS.split() if text[at].lower() in keys), letter)
    return dice.choice(
        (
            text[:at] + text[at + 1 :],
            text[:at] + dice.choice(row) + text[at:],
            text[:at] + text[at + 1] + text[at] + text[at + 2 :],
            text[:at] + dice.choice(row) + text[at + 1 :],
        )
    )


def _digit(text: str, dice: random.Random) -> str:
    """One wrong digit."""
    places = [at for at, letter in enumerate(text) if letter.isdigit()]
    if not places:
        return text
    at = dice.choice(places)
    return text[:at] + str(dice.randrange(10)) + text[at + 1 :]


def _slips(text: str, dice: random.Random, once: float, twice: float = 0.0) -> str:
    drawn = dice.random()
    text = _typo(text, dice) if drawn < once + twice else text
    return _typo(text, dice) if drawn < twice else text


def _rewritten_phone(text: str, dice: random.Random) -> str:
    code, area, number = text.split(" ")
    return dice.choice(
        (
            f"{code.replace('+', '00')}{area}{number}",
            f"0{area}/{number[:3]}-{number[3:]}",
            f"{code} ({area}) {number[:2]} {number[2:4]} {number[4:]}",
            f"{code} (0){area}-{number}",
            f"({area}) {number[:3]}-{number[3:]}",
        )
    )


def _typed_again(row: Row, dice: random.Random) -> Row:
    """The same company or person, written by another hand at another time."""
    chance = dice.random
    changes: dict[str, str] = {}
    if row.name:
        name = _slips(row.name, dice, 0.4, 0.1)
        words = name.split()
        if len(words) > 1 and chance() < 0.08:
            name = " ".join([*words[1:], words[0]])
        changes["name"] = name.replace("&", "und" if row.region == 1 else "and") if chance() < 0.3 else name
        changes["form"] = dice.choice(_FORMS[row.form]) if chance() < 0.45 else row.form
    else:
        given, family = _slips(row.given, dice, 0.2), _slips(row.family, dice, 0.25)
        given = f"{given[:1]}." if chance() < 0.04 else given
        changes |= {"given": family, "family": given} if chance() < 0.04 else {"given": given, "family": family}
    moved = chance() < 0.06
    place = _place(dice) if moved else {"street": row.street, "city": row.city, "postcode": row.postcode}
    if not moved and chance() < 0.5:
        for long, short in _STREETS.items():
            place["street"] = place["street"].replace(long, dice.choice(short))
    place["street"] = "" if chance() < 0.05 else _slips(place["street"], dice, 0.25, 0.03)
    place["city"] = _slips(place["city"], dice, 0.1)
    place["postcode"] = (
        "" if chance() < 0.06 else _digit(place["postcode"], dice) if chance() < 0.05 else place["postcode"]
    )
    changes |= {name: str(place[name]) for name in ("street", "city", "postcode")}
    changes["country"] = "" if chance() < 0.1 else row.country if not moved else str(place["country"])
    if row.phone:
        drawn = chance()
        phone = "" if drawn < 0.15 else _phone(row.region, dice) if drawn < 0.23 else row.phone
        phone = _digit(phone, dice) if phone and chance() < 0.05 else phone
        changes["phone"] = _rewritten_phone(phone, dice) if phone and chance() < 0.7 else phone
    if row.mail:
        drawn = chance()
        another = f"{dice.choice(('kontakt', 'mail', 'hello', 'service'))}@{row.mail.partition('@')[2]}"
        mail = "" if drawn < 0.25 else another if drawn < 0.33 else row.mail
        changes["mail"] = _slips(mail, dice, 0.06) if mail else ""
    spell: Callable[[str], str] = _ascii if chance() < 0.35 else str
    case: Callable[[str], str] = str.upper if chance() < 0.1 else str
    for name in ("name", "form", "given", "family", "street", "city"):
        if name in changes:
            changes[name] = case(spell(changes[name]))
    return replace(row, **changes)  # type: ignore[arg-type]
