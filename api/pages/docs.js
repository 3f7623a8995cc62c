// The OpenAPI document, to be read.
import { fill, find, h, prose, words } from "./elements.js";
import { get, start } from "./service.js";

const link = (ref) => h("a", { href: `#${ref.split("/").pop()}` }, ref.split("/").pop());

/** A schema in a line: type, bounds, default. */
function typed(schema) {
  if (schema.$ref) return link(schema.$ref);
  const forms = schema.anyOf ?? schema.oneOf;
  if (forms) return forms.map((form, index) => [index ? " or " : "", typed(form)]);
  if (schema.enum) return schema.enum.map((entry, index) => [index ? " or " : "", h("code", {}, JSON.stringify(entry))]);
  if (schema.const !== undefined) return h("code", {}, JSON.stringify(schema.const));
  if (schema.type === "array") return ["list of ", schema.items ? typed(schema.items) : "anything"];
  if (schema.format === "binary") return "a file";
  return [schema.type ?? "anything", schema.format ? ` (${schema.format})` : ""];
}

const BOUNDS = { minimum: "≥", exclusiveMinimum: ">", maximum: "≤", exclusiveMaximum: "<", maxLength: "letters ≤", maxItems: "items ≤" };

function limits(schema) {
  const forms = [schema, ...(schema.anyOf ?? [])];
  const said = forms.flatMap((form) => Object.entries(BOUNDS).filter(([key]) => form[key] !== undefined && Math.abs(form[key]) < 1e15).map(([key, sign]) => `${sign} ${form[key]}`));
  const standard = schema.default !== undefined && schema.default !== null ? [`default ${JSON.stringify(schema.default)}`] : [];
  return [...said, ...standard].join(", ");
}

const row = (name, schema, required, description, where) =>
  h("div", {}, h("dt", {}, h("code", {}, name), where ? h("span", { class: "small" }, ` ${where}`) : null, required ? h("span", { class: "tag" }, "required") : null),
    h("dd", {}, typed(schema), h("span", { class: "small" }, ` ${limits(schema)}`), description ? h("p", {}, prose(description)) : null));

const curl = (method, path, operation) => {
  const body = operation.requestBody?.content ?? {};
  const parts = ["curl", method === "get" ? "" : `-X ${method.toUpperCase()}`, body["application/json"] ? "--json '{…}'" : "", body["application/octet-stream"] ? "-T FILE" : "", `"${location.origin}${path}"`];
  return parts.filter((part) => part).join(" ");
};

function operationCard(path, method, operation) {
  const body = Object.entries(operation.requestBody?.content ?? {});
  const answers = Object.entries(operation.responses);
  const id = `${method}-${path}`;
  return h("details", { class: "operation", id },
    h("summary", {}, h("span", { class: `method ${method}` }, method.toUpperCase()), h("code", {}, path), h("span", { class: "small" }, prose(operation.description?.split("\n")[0] ?? operation.summary))),
    h("pre", {}, h("code", {}, curl(method, path, operation))),
    operation.description?.includes("\n") ? h("p", {}, prose(operation.description.split("\n").slice(1).join(" "))) : null,
    operation.parameters?.length ? [h("h4", {}, "Parameters"), h("dl", { class: "pairs" }, operation.parameters.map((entry) => row(entry.name, entry.schema, entry.required, entry.description, `in the ${entry.in}`)))] : null,
    body.length ? [h("h4", {}, "Body"), operation.requestBody.description ? h("p", {}, prose(operation.requestBody.description)) : null, body.map(([type, content]) => h("p", {}, h("code", {}, type), ": ", typed(content.schema)))] : null,
    h("h4", {}, "Answers"),
    h("dl", { class: "pairs" }, answers.map(([status, answer]) => h("div", {}, h("dt", {}, h("code", {}, status)),
      h("dd", {}, answer.description, Object.entries(answer.content ?? {}).map(([type, content]) => h("span", { class: "small" }, ` · ${type} `, content.schema ? typed(content.schema) : null)))))));
}

const schemaCard = (name, schema) =>
  h("details", { class: "operation", id: name }, h("summary", {}, h("code", {}, name), h("span", { class: "small" }, prose(schema.description?.split("\n")[0] ?? ""))),
    schema.properties ? h("dl", { class: "pairs" }, Object.entries(schema.properties).map(([key, property]) => row(key, property, schema.required?.includes(key), property.description))) : h("p", {}, typed(schema)));

/** Open what the address names, and what leads there. */
function openTarget() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  target.open = true;
  target.scrollIntoView();
}

start(async () => {
  const described = await get("/openapi.json");
  const byTag = new Map();
  for (const [path, operations] of Object.entries(described.paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      const tag = operation.tags?.[0] ?? "operation";
      byTag.set(tag, [...(byTag.get(tag) ?? []), { text: JSON.stringify([path, operation]).toLowerCase(), element: operationCard(path, method, operation) }]);
    }
  }
  const sections = [...byTag].map(([tag, entries]) => ({ entries, element: h("section", {}, h("h2", {}, words(tag)), entries.map(({ element }) => element)) }));
  fill(find("#operations"), sections.map(({ element }) => element));
  find("#operations").removeAttribute("aria-busy");
  fill(find("#schemas"), h("h2", {}, "Schemas"), Object.entries(described.components.schemas).map(([name, schema]) => schemaCard(name, schema)));
  find("#query").addEventListener("input", () => {
    const text = find("#query").value.trim().toLowerCase();
    for (const { entries, element } of sections) {
      for (const entry of entries) entry.element.hidden = !entry.text.includes(text);
      element.hidden = entries.every((entry) => entry.element.hidden);
    }
  });
  find("form").addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", openTarget);
  openTarget();
});
