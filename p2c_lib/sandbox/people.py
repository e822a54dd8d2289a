"""Words the sandbox makes its companies, people, places and products of."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "BRANDS",
    "DEPARTMENTS",
    "FIRST_NAMES",
    "JOB_TITLES",
    "LAST_NAMES",
    "MIDDLE_NAMES",
    "PRODUCT_ADJECTIVES",
    "PRODUCT_NOUNS",
    "PRODUCT_REMARKS",
    "PRODUCT_SIZES",
    "REGIONS",
    "REMARKS",
    "TRADES",
    "Region",
]


@dataclass(frozen=True)
class Region:
    """A country as people in Sales write it, and what F&O holds for it.

    Attributes:
        iso: Code that F&O's ISO column holds after the integrator's country map (Japan: JA, as the map prints it).
        region_id: F&O's own three-letter country/region.
        written: Texts found in Sales for it, in mixed case and with stray blanks.
        places: City, state and postal code; both codes fit F&O's 10 characters.
        streets: Street names; ``{}`` stands for the house number.
        legal_forms: Endings of company names.
        phone: Calling code.
    """

    iso: str
    region_id: str
    written: tuple[str, ...]
    places: tuple[tuple[str, str | None, str | None], ...]
    streets: tuple[str, ...]
    legal_forms: tuple[str, ...]
    phone: str


REGIONS = (
    Region(
        "US",
        "USA",
        ("USA", "US", "United States", "united states", "United States of America", " usa ", "Usa", "UNITED STATES"),
        (
            ("Redmond", "WA", "98052"),
            ("New York", "NY", "10017-2031"),
            ("Coeur d'Alene", "ID", "83814"),
            ("San José", "CA", "95113"),
            ("Winston-Salem", "NC", "27101"),
            ("St. Louis", "MO", "63103"),
            ("Boston", "MA", "02110"),
            ("Chicago", "IL", "60606"),
        ),
        ("{} Main Street", "{} Martin Luther King Jr. Boulevard", "{} O'Farrell Street", "{} N 42nd Ave", "{} Elm Rd."),
        ("Inc.", "LLC", "Corp.", "Co."),
        "+1",
    ),
    Region(
        "DE",
        "DEU",
        ("Germany", "DE", "deu", "GERMANY", "germany ", "De", " DEU"),
        (
            ("München", "BY", "80331"),
            ("Köln", "NW", "50667"),
            ("Düsseldorf", "NW", "40213"),
            ("Straßberg", "BW", "72479"),
            ("Berlin", "BE", "10115"),
            ("Garmisch-Partenkirchen", "BY", "82467"),
            ("Lübeck", None, "23552"),
        ),
        ("Hauptstraße {}", "Königsallee {}", "Am Großen Graben {}", "Straße des 17. Juni {}", "Müllerweg {}a"),
        ("GmbH", "AG", "GmbH & Co. KG", "KG"),
        "+49",
    ),
    Region(
        "FR",
        "FRA",
        ("France", "FR", "fra", "FRANCE", " france"),
        (
            ("Paris", None, "75008"),
            ("Saint-Étienne", None, "42000"),
            ("L'Haÿ-les-Roses", None, "94240"),
            ("Nîmes", "30", "30000"),
            ("Besançon", None, "25000"),
        ),
        ("{} rue de l'Église", "{} avenue des Champs-Élysées", "{} place du Général-de-Gaulle", "{} bd Voltaire"),
        ("S.A.S.", "S.A.", "SARL"),
        "+33",
    ),
    Region(
        "GB",
        "GBR",
        ("UK", "uk", "United Kingdom", "UNITED KINGDOM", "united kingdom "),
        (
            ("London", None, "EC2V 7HH"),
            ("King's Lynn", "NFK", "PE30 1ET"),
            ("Stratford-upon-Avon", "WAR", "CV37 6HB"),
            ("Leeds", None, "LS1 4DY"),
        ),
        ("{} High Street", "{} St. James's Square", "{} Queen's Road", "{} The Old Brewery Yard"),
        ("Ltd", "plc", "LLP"),
        "+44",
    ),
    Region(
        "JA",
        "JPN",
        ("Japan", "JAPAN", "jap", "JA"),
        (("Tōkyō", "13", "100-0005"), ("Ōsaka", "27", "530-0001"), ("Kyōto", "26", "604-8166")),
        ("{}-1 Marunouchi", "{}-12-3 Ginza", "{}-5 Karasuma-dōri"),
        ("K.K.", "G.K."),
        "+81",
    ),
    Region(
        "IN",
        "IND",
        ("India", "IN", "ind", "INDIA"),
        (("Mumbai", "MH", "400001"), ("Bengaluru", "KA", "560001"), ("New Delhi", "DL", "110001")),
        ("{} Mahatma Gandhi Road", "Plot {}, Sector V", "{} Brigade Road"),
        ("Pvt. Ltd.", "Ltd."),
        "+91",
    ),
    Region(
        "AU",
        "AUS",
        ("AU", "au", " Au"),
        (("Sydney", "NSW", "2000"), ("Melbourne", "VIC", "3000"), ("Wagga Wagga", "NSW", "2650")),
        ("{} George Street", "{} Collins St", "Unit 4/{} Wharf Parade"),
        ("Pty Ltd",),
        "+61",
    ),
    Region(
        "CA",
        "CAN",
        ("CA", "ca", "Ca "),
        (("Montréal", "QC", "H2Y 1C6"), ("Trois-Rivières", "QC", "G9A 5H7"), ("St. John's", "NL", "A1C 5S7")),
        ("{} rue Saint-Jacques", "{} Yonge Street", "{} Water Street"),
        ("Inc.", "Ltée", "Ltd."),
        "+1",
    ),
)

FIRST_NAMES = (
    *(
        "Anna",
        "Jürgen",
        "Zoë",
        "Françoise",
        "Siobhán",
        "Łukasz",
        "Priya",
        "Kenji",
        "Mary-Jane",
        "José",
        "Renée",
        "Öykü",
    ),
    *("Thomas", "Chloé", "Björn", "Nuño", "Aisling", "Haruka", "Arjun", "Olivia", "Mátyás", "Inês", "Søren", "Grace"),
    *("Li", "Karl-Heinz", "D'Arcy", "Noémie", "Günther", "Amélie", "William", "Sofía", "Vikram", "Yūki", "Eve", "Jörg"),
)
LAST_NAMES = (
    *(
        "O'Brien",
        "D'Angelo",
        "Müller",
        "Weiß",
        "Nuñez",
        "Sjöberg",
        "Smith",
        "Sánchez-Vega",
        "MacDonald",
        "van der Berg",
    ),
    *("Lefèvre", "Özdemir", "Patel", "Tanaka", "Dvořák", "Groß", "O'Neill", "Ångström", "Bergström", "Kowalski", "Ng"),
    *("Fitzgerald", "Schröder", "Brontë", "Chatterjee", "Yamamoto", "L'Heureux", "Jones", "Muñoz", "Żeromski", "Ito"),
    *("Brown", "García", "Köhler", "De Luca", "Singh", "Thórsson", "Garnier", "Wright", "Hübner", "Åkesson", "Dubois"),
)
MIDDLE_NAMES = ("J.", "Marie", "Q.", "Élise", "Lee", "Ann", "Kofi", "Ø.")
BRANDS = (
    *("Contoso", "Fabrikam", "Adventure Works", "Northwind", "Alpine Ski", "Blue Yonder", "Château Réal", "Nordlicht"),
    *("Wingtip", "Südwerk", "Proseware", "Trey", "Humongous", "Lucerne", "Café Größe", "Margie's", "City Power"),
)
TRADES = (
    *("Logistics", "Präzisionstechnik", "Électronique", "Foods", "Maschinenbau", "Trading", "Medical Supplies"),
    *("Consulting", "Möbelwerke", "Textiles", "Energy Services", "Software", "Building Materials", "Optique"),
    *("Sports & Outdoor Equipment", "Chemicals", "Werkzeug- und Formenbau", "Wholesale", "Aerospace Components"),
)
DEPARTMENTS = ("Purchasing", "Finance", "Einkauf", "R&D", "Achats", "Operations", "IT", "Facility Management")
JOB_TITLES = (
    *("Purchasing Manager", "Owner", "Buyer", "CFO", "Geschäftsführer", "Directrice générale", "Head of Operations"),
    *("Assistant", "Plant Engineer", "Senior Vice President, Global Category Management", "Sales & Marketing Lead"),
)
REMARKS = (
    "Prefers to be called in the morning.",
    "Pays late; ask for a deposit on orders over 10,000.00.",
    'Known as "the old mill" on site; gate B is open until 16:30.',
    "Lieferung nur über Tor 3, größere Sendungen bitte zwei Tage vorher anmelden.",
    "Ne pas livrer le lundi; s'adresser à l'accueil.",
    "Key account since 2011 & partner of the year 2019 (see contract #4711/A).",
    "Asked for the price list in £ and €; discount < 5 % agreed.",
    "Visited the fair; wants samples of the new range; 100% organic only.",
    "Reference customer\\site visits possible; ask first.",
)
PRODUCT_ADJECTIVES = (
    *("Compact", "Heavy-duty", "Ultra-light", "Edelstahl", "Modèle", "Rugged", "Wireless", "Silent", "Industrial"),
    *("Premium", "Basic", "Weatherproof", "Ergonomic", "High-precision"),
)
PRODUCT_NOUNS = (
    *("Standard Speaker", "Projector", "Bohrhammer", "Office Chair", "Coffee Grinder", "Cable Tray", "Hydraulic Pump"),
    *("Écran plat", "Storage Rack", "Safety Helmet", "Screw Set", "Conveyor Belt", "Label Printer", "Mountain Bike"),
)
PRODUCT_SIZES = (
    '27"',
    "M8 × 40",
    "5 kg",
    "black",
    "größe L",
    "2.5 m²",
    "24/7",
    "Ø 12 mm",
    "weiß",
    "type 'C'",
    "1/2 HP",
)
PRODUCT_REMARKS = (
    "Delivered with mounting kit and manual (EN/DE/FR).",
    "Nur für den gewerblichen Gebrauch; 24 Monate Gewährleistung.",
    "Replaces the discontinued model; spare parts remain available for at least seven years.",
    'Housing 19", powder-coated; operating temperature -20 °C to +55 °C.',
    "Vendu à l'unité, emballage d'origine.",
    "Minimum order: one pallet (48 pieces) & multiples thereof.",
    "CE marked\\RoHS compliant; see the declaration #A-1138.",
)
