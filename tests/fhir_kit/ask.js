// Asks a running server by fhir-kit-client, and prints what it was told as one JSON object. Asked for in the environment: BASE, TOKEN, PERSON,
// PATIENT (a Patient to match), CONSENT (a Consent to give) and CRITERIA (of a search of two pages).
const Client = require("fhir-kit-client");

async function ask() {
  const { BASE, TOKEN, PERSON, PATIENT, CONSENT, CRITERIA } = process.env;
  const client = new Client({ baseUrl: BASE, bearerToken: TOKEN });
  const told = {};

  const statement = await client.capabilityStatement();
  told.types = statement.rest[0].resource.map((one) => one.type);

  told.read = await client.read({ resourceType: "Patient", id: PERSON });
  told.unknown = await client
    .read({ resourceType: "Patient", id: "42" })
    .catch((error) => ({ status: error.response.status, type: error.response.data.resourceType }));

  let page = await client.search({ resourceType: "Patient", searchParams: JSON.parse(CRITERIA) });
  told.pages = [];
  while (page) {
    told.pages.push(page.entry.map((one) => one.resource.id));
    page = await client.nextPage({ bundle: page });
  }

  const parameter = [{ name: "resource", resource: JSON.parse(PATIENT) }];
  told.match = await client.operation({
    resourceType: "Patient",
    name: "match",
    input: { resourceType: "Parameters", parameter },
  });

  told.given = await client.create({ resourceType: "Consent", body: JSON.parse(CONSENT) });
  told.withdrawn = await client.update({
    resourceType: "Consent",
    id: told.given.id,
    body: { ...told.given, status: "inactive" },
  });
  told.found = await client.search({
    resourceType: "Consent",
    searchParams: { patient: PERSON, status: "inactive" },
  });
  return told;
}

ask()
  .then((told) => console.log(JSON.stringify(told)))
  .catch((error) => {
    console.error(error.response ? JSON.stringify(error.response) : error);
    process.exit(1);
  });
