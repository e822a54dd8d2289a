"""Both services on loopback: Dynamics 365 Sales (Dataverse) and Finance & Operations, with made-up data."""
