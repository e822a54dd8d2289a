"""Small stand-ins for the two services: functions from a request to a response, behind httpx.MockTransport."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import httpx

from p2c_lib.config import Auth, Limits
from p2c_lib.connect import Client

SALES_ROOT = "https://contoso.crm4.dynamics.com"
FNO_ROOT = "https://contoso.operations.dynamics.com"
TOKEN = Auth(kind="token", token="secret-bearer")

SALES_CSDL = b"""<?xml version="1.0"?>
<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx"><edmx:DataServices>
<Schema Namespace="Microsoft.Dynamics.CRM" Alias="mscrm" xmlns="http://docs.oasis-open.org/odata/ns/edm">
 <EntityType Name="crmbaseentity" Abstract="true"/>
 <EntityType Name="account" BaseType="mscrm.crmbaseentity">
  <Key><PropertyRef Name="accountid"/></Key>
  <Property Name="accountid" Type="Edm.Guid"/><Property Name="accountnumber" Type="Edm.String"/>
  <Property Name="name" Type="Edm.String"/><Property Name="creditlimit" Type="Edm.Decimal" Scale="Variable"/>
  <Property Name="donotemail" Type="Edm.Boolean"/><Property Name="statecode" Type="Edm.Int32"/>
  <Property Name="versionnumber" Type="Edm.Int64"><Annotation Term="Org.OData.Core.V1.Computed" Bool="true"/></Property>
  <Property Name="createdon" Type="Edm.DateTimeOffset"/><Property Name="birthdate" Type="Edm.Date"/>
  <Property Name="_transactioncurrencyid_value" Type="Edm.Guid"/>
  <NavigationProperty Name="transactioncurrencyid" Type="mscrm.transactioncurrency">
   <ReferentialConstraint Property="_transactioncurrencyid_value" ReferencedProperty="transactioncurrencyid"/>
  </NavigationProperty>
 </EntityType>
 <EntityType Name="contact" BaseType="mscrm.crmbaseentity">
  <Key><PropertyRef Name="contactid"/></Key>
  <Property Name="contactid" Type="Edm.Guid"/><Property Name="msdynce_contactnumber" Type="Edm.String"/>
  <Property Name="_parentcustomerid_value" Type="Edm.Guid"/>
  <NavigationProperty Name="parentcustomerid_account" Type="mscrm.account">
   <ReferentialConstraint Property="_parentcustomerid_value" ReferencedProperty="accountid"/></NavigationProperty>
  <NavigationProperty Name="parentcustomerid_contact" Type="mscrm.contact">
   <ReferentialConstraint Property="_parentcustomerid_value" ReferencedProperty="contactid"/></NavigationProperty>
 </EntityType>
 <EntityType Name="transactioncurrency" BaseType="mscrm.crmbaseentity">
  <Key><PropertyRef Name="transactioncurrencyid"/></Key>
  <Property Name="transactioncurrencyid" Type="Edm.Guid"/><Property Name="isocurrencycode" Type="Edm.String"/>
 </EntityType>
 <EntityContainer Name="System">
  <EntitySet Name="accounts" EntityType="Microsoft.Dynamics.CRM.account"/>
  <EntitySet Name="contacts" EntityType="Microsoft.Dynamics.CRM.contact"/>
  <EntitySet Name="transactioncurrencies" EntityType="Microsoft.Dynamics.CRM.transactioncurrency"/>
 </EntityContainer>
</Schema></edmx:DataServices></edmx:Edmx>"""

FNO_CSDL = b"""<?xml version="1.0"?>
<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx"><edmx:DataServices>
<Schema Namespace="Microsoft.Dynamics.DataEntities" xmlns="http://docs.oasis-open.org/odata/ns/edm">
 <EnumType Name="NoYes"><Member Name="No" Value="0"/><Member Name="Yes" Value="1"/></EnumType>
 <EntityType Name="CustomerV2">
  <Key><PropertyRef Name="dataAreaId"/><PropertyRef Name="CustomerAccount"/></Key>
  <Property Name="dataAreaId" Type="Edm.String" Nullable="false"/>
  <Property Name="CustomerAccount" Type="Edm.String" Nullable="false">
   <Annotation Term="Microsoft.Dynamics.OData.Core.V1.AllowEdit" Bool="false"/>
   <Annotation Term="Microsoft.Dynamics.OData.Core.V1.IsRequired" Bool="true"/></Property>
  <Property Name="OrganizationName" Type="Edm.String"/>
  <Property Name="CreditLimit" Type="Edm.Decimal" Nullable="false"/>
  <Property Name="OnHold" Type="Microsoft.Dynamics.DataEntities.NoYes"/>
  <Property Name="Since" Type="Edm.DateTimeOffset" Nullable="false">
   <Annotation Term="Microsoft.Dynamics.OData.Core.V1.AXType"
     String="Microsoft.Dynamics.OData.Core.V1.AXType/Date"/></Property>
  <NavigationProperty Name="Group" Type="Microsoft.Dynamics.DataEntities.Currency">
   <ReferentialConstraint Property="OrganizationName" ReferencedProperty="CurrencyCode"/></NavigationProperty>
 </EntityType>
 <EntityType Name="Currency"><Key><PropertyRef Name="CurrencyCode"/></Key>
  <Property Name="CurrencyCode" Type="Edm.String" Nullable="false"/></EntityType>
 <EntityContainer Name="Resources">
  <EntitySet Name="CustomersV2" EntityType="Microsoft.Dynamics.DataEntities.CustomerV2"/>
  <EntitySet Name="Currencies" EntityType="Microsoft.Dynamics.DataEntities.Currency"/>
 </EntityContainer>
</Schema></edmx:DataServices></edmx:Edmx>"""

DEFINITIONS: dict[str, Any] = {
    "/StringAttributeMetadata": {"value": [{"LogicalName": "name", "MaxLength": 160}]},
    "/MemoAttributeMetadata": {"value": []},
    "/MoneyAttributeMetadata": {"value": [{"LogicalName": "creditlimit", "Precision": 2}]},
    "/DecimalAttributeMetadata": {"value": []},
    "/Attributes": {
        "value": [
            {
                "LogicalName": "creditlimit",
                "AttributeType": "Money",
                "RequiredLevel": {"Value": "None"},
                "IsValidForCreate": True,
                "IsValidForUpdate": False,
            },
            {"LogicalName": "transactioncurrencyid", "AttributeType": "Lookup"},
        ]
    },
    "/Keys": {
        "value": [
            {"LogicalName": "k1", "KeyAttributes": ["accountnumber"], "EntityKeyIndexStatus": "Active"},
            {"LogicalName": "k2", "KeyAttributes": ["name"], "EntityKeyIndexStatus": "Failed"},
        ]
    },
}

Handler = Callable[[httpx.Request], httpx.Response]


def answer(value: Any, status: int = 200, **headers: str) -> httpx.Response:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return httpx.Response(status, content=content, headers={"Content-Type": "application/json", **headers})


def page(*rows: str, next_link: str | None = None) -> httpx.Response:
    """A page as the services write it; rows are JSON text without braces."""
    body = ",".join('{"@odata.etag":"W/\\"1\\"",' + row + "}" for row in rows)
    link = f',"@odata.nextLink":{json.dumps(next_link)}' if next_link else ""
    return answer(f'{{"@odata.context":"https://x/$metadata#x","value":[{body}]{link}}}'.encode())


def error(status: int, code: str, message: str, **headers: str) -> httpx.Response:
    return answer({"error": {"code": code, "message": message}}, status, **headers)


def client(system: str, handler: Handler, *, auth: Auth = TOKEN, **limits: Any) -> Client:
    """A client over a fake service; metadata is answered here, everything else by `handler`."""

    def route(request: httpx.Request) -> httpx.Response:
        path = unquote(request.url.path)
        if path.endswith("/$metadata"):
            return httpx.Response(200, content=SALES_CSDL if system == "sales" else FNO_CSDL)
        if "/EntityDefinitions(" in path:
            tail = next((part for part in DEFINITIONS if path.endswith(part) or path.endswith(f"CRM.{part[1:]}")), None)
            return answer(DEFINITIONS[tail] if tail else {"LogicalName": "account", "MetadataId": "m-1"})
        return handler(request)

    return Client(
        "sales" if system == "sales" else "fno",
        SALES_ROOT if system == "sales" else FNO_ROOT,
        auth,
        Limits(**{"parallel": 2, "budget_s": 5, **limits}),
        company=None if system == "sales" else "usmf",
        transport=httpx.MockTransport(route),
    )
