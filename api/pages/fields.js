// Forms from JSON Schema: a field for each property, with its default, bounds and help; what is sent is what differs
// from the default. A parameter that the service learns appears by itself.
import { fill, h, prose } from "./elements.js";

let ids = 0;

/** The schema itself, without a reference or null in between. */
export class Schemas {
  constructor(document) {
    this.document = document;
  }

  resolve(schema) {
    if (!schema.$ref) return schema;
    const found = schema.$ref.slice(2).split("/").reduce((part, key) => part[key], this.document);
    const { $ref, ...beside } = schema;
    return { ...found, ...beside };
  }

  /** Its forms, and whether it may be null. */
  forms(schema) {
    const forms = (schema.anyOf ?? [schema]).map((form) => this.resolve(form));
    return { forms: forms.filter((form) => form.type !== "null"), nullable: forms.some((form) => form.type === "null") };
  }
}

/** A field for a property: {element, value(), pointer, tell(detail)}; value() is undefined where the default is meant. */
export function field(schemas, name, given, { pointer, required, start }) {
  const schema = schemas.resolve(given);
  const { forms, nullable } = schemas.forms(schema);
  const [form] = forms;
  if (form.const !== undefined) return { pointer, element: null, value: () => form.const, tell: () => false, fields: [] };
  if (form.discriminator) return choice(schemas, name, schema, form, { pointer });
  if (form.properties) return group(schemas, name, { ...form, description: schema.description ?? form.description }, { pointer, nullable, hasDefault: !required });
  if (form.type === "boolean") return yesNo(name, schema, { pointer });
  if (form.enum) return oneOf(name, { ...schema, enum: form.enum }, { pointer, nullable, required, start });
  if (form.type === "array" && schemas.resolve(form.items ?? {}).enum) return several(name, schema, schemas.resolve(form.items).enum, { pointer });
  if (form.type === "object") return lines(name, schema, { pointer });
  return line(schemas, name, schema, forms, { pointer, nullable, required, start });
}

const label = (name) => name.replace(/_/g, " ");

/** What all fields have: label, help, a place for what the service says is wrong with it. */
function framed(name, schema, control, { pointer, help = [], value, labelled = true }) {
  const id = `field-${++ids}`;
  control.id = id;
  const about = prose([schema.description, ...help].filter((text) => text).join(" · "));
  const wrong = h("span", { class: "field-error", id: `${id}-wrong` });
  control.setAttribute("aria-describedby", `${id}-help ${id}-wrong`);
  const element = h("div", { class: "field" }, labelled ? h("label", { for: id }, label(name)) : null, control,
    h("span", { class: "help", id: `${id}-help` }, about), wrong);
  const tell = (detail) => {
    wrong.textContent = detail;
    control.setAttribute("aria-invalid", String(Boolean(detail)));
    return control;
  };
  return { pointer, element, value, tell, fields: [] };
}

const shown = (content) => (Array.isArray(content) ? content.join(", ") : content === null || content === undefined ? "" : String(content));

/** Numbers, texts and lists of them, in one line. */
function line(schemas, name, schema, forms, { pointer, nullable, required, start }) {
  const list = forms.find((form) => form.type === "array");
  const single = forms.find((form) => form.type !== "array");
  const kind = single ?? schemas.resolve(list.items ?? {});
  const numeric = kind.type === "integer" || kind.type === "number";
  const before = shown(schema.default);
  const control = h("input", {
    name, value: start ?? before, autocomplete: "off", required,
    type: numeric && !list ? "number" : "text", step: numeric && !list ? (kind.type === "integer" ? "1" : "any") : null,
    min: numeric && !list ? kind.minimum ?? null : null, max: numeric && !list ? kind.maximum ?? null : null,
    inputmode: numeric ? (list ? "text" : "decimal") : null, maxlength: kind.type === "string" && !list ? kind.maxLength ?? null : null,
    placeholder: nullable && (schema.default ?? null) === null ? "left out" : null,
  });
  const value = () => {
    const text = control.value.trim();
    if (control.validity.badInput) return NaN; // a number field with something else in it reads as empty
    if (text === before) return undefined;
    if (text === "") return nullable && (schema.default ?? null) !== null ? null : undefined;
    const parts = list ? text.split(",").map((part) => part.trim()).filter((part) => part) : [text];
    const values = numeric ? parts.map(asNumber) : parts;
    return list && (!single || values.length > 1) ? values : values[0];
  };
  const help = [bounds(kind), list ? (single ? "one, or several separated by commas" : "separated by commas") : null, nullable && (schema.default ?? null) !== null ? "empty: null" : null];
  return framed(name, schema, control, { pointer, help, value });
}

/** As a number where it is one; else the text, for the service to say what is wrong with it. */
const asNumber = (text) => (text !== "" && Number.isFinite(Number(text)) ? Number(text) : text);

function bounds(schema) {
  const low = schema.minimum ?? schema.exclusiveMinimum;
  const high = schema.maximum ?? schema.exclusiveMaximum;
  const parts = [
    low === undefined ? null : `${schema.exclusiveMinimum !== undefined ? "more than" : "at least"} ${low.toLocaleString("en")}`,
    high === undefined || high > 1e15 ? null : `${schema.exclusiveMaximum !== undefined ? "less than" : "at most"} ${high.toLocaleString("en")}`,
  ].filter((part) => part);
  return parts.length ? parts.join(", ") : null;
}

function oneOf(name, schema, { pointer, nullable, required, start }) {
  const before = schema.default ?? (required ? schema.enum[0] : "");
  const control = h("select", { name },
    nullable || (!required && schema.default === undefined) ? h("option", { value: "" }, "left out") : null,
    schema.enum.map((entry) => h("option", { selected: entry === (start ?? before) }, entry)));
  return framed(name, schema, control, { pointer, value: () => (control.value === "" || (!required && control.value === before) ? undefined : control.value) });
}

function yesNo(name, schema, { pointer }) {
  const control = h("input", { type: "checkbox", name, checked: schema.default === true });
  return framed(name, schema, control, { pointer, value: () => (control.checked === (schema.default ?? false) ? undefined : control.checked) });
}

/** Several of a few words. */
function several(name, schema, entries, { pointer }) {
  const boxes = entries.map((entry) => h("input", { type: "checkbox", value: entry, checked: (schema.default ?? []).includes(entry) }));
  const control = h("div", { class: "checks", role: "group", "aria-label": label(name), tabindex: "-1" }, boxes.map((box) => h("label", { class: "check" }, box, ` ${label(box.value)}`)));
  const value = () => {
    const chosen = boxes.filter((box) => box.checked).map((box) => box.value);
    return JSON.stringify(chosen) === JSON.stringify(schema.default ?? []) ? undefined : chosen;
  };
  const made = framed(name, schema, control, { pointer, value, labelled: false });
  made.element.prepend(h("span", { class: "label" }, label(name)));
  return made;
}

/** Names with lists of values, one name a line. */
function lines(name, schema, { pointer }) {
  const control = h("textarea", { name, rows: "3", spellcheck: "false", placeholder: "weight_decay: 0.001, 0.004, 0.016" });
  const value = () => {
    const entries = control.value.split("\n").map((text) => text.trim()).filter((text) => text);
    return Object.fromEntries(entries.map((text) => {
      const [key, ...rest] = text.split(":");
      return [key.trim(), rest.join(":").split(",").map((part) => part.trim()).filter((part) => part).map(asNumber)];
    }));
  };
  return framed(name, schema, control, { pointer, help: ["one a line, as name: value, value"], value });
}

/** The fields of an object. One that may be left out or be null is filled only where that is chosen. */
function group(schemas, name, schema, { pointer, nullable, hasDefault }) {
  const fields = properties(schemas, schema, pointer);
  const inside = h("div", { class: "fields" }, fields.map((entry) => entry.element));
  const choose = h("select", { "aria-label": `${label(name)}: how`, onchange: () => (inside.hidden = choose.value !== "own") },
    hasDefault ? h("option", { value: "default" }, "the default") : null, nullable ? h("option", { value: "null" }, "none") : null, h("option", { value: "own" }, "as given here"));
  inside.hidden = choose.value !== "own";
  const wrong = h("span", { class: "field-error" });
  const element = h("fieldset", {}, h("legend", {}, label(name)), h("p", { class: "help" }, prose(schema.description ?? "")), choose.options.length > 1 ? choose : null, inside, wrong);
  const value = () => ({ default: undefined, null: null, own: collect(fields) })[choose.value];
  return { pointer, element, value, tell: (detail) => ((wrong.textContent = detail), choose), fields };
}

/** One of several objects, told apart by a word. */
function choice(schemas, name, schema, form, { pointer }) {
  const { propertyName, mapping } = form.discriminator;
  const inside = h("div", { class: "fields" });
  const own = { fields: [] };
  const choose = h("select", { "aria-label": `${label(name)}: ${propertyName}` }, Object.keys(mapping).sort().reverse().map((tag) => h("option", {}, tag)));
  const show = () => {
    own.fields = properties(schemas, schemas.resolve({ $ref: mapping[choose.value] }), pointer);
    fill(inside, own.fields.map((entry) => entry.element));
  };
  choose.addEventListener("change", show);
  show();
  const wrong = h("span", { class: "field-error" });
  const element = h("fieldset", {}, h("legend", {}, label(name)), h("p", { class: "help" }, prose(schema.description ?? "")), choose, inside, wrong);
  return { pointer, element, value: () => collect(own.fields), tell: (detail) => ((wrong.textContent = detail), choose), get fields() { return own.fields; } };
}

/** A field for each property. */
export function properties(schemas, schema, pointer, start = {}) {
  return Object.entries(schema.properties).map(([name, property]) =>
    Object.assign(field(schemas, name, property, { pointer: `${pointer}/${name}`, required: (schema.required ?? []).includes(name), start: start[name] }), { name }));
}

/** The object that the fields make; what is at its default is left out. */
export const collect = (fields) =>
  Object.fromEntries(fields.map((entry) => [entry.name, entry.value()]).filter(([, content]) => content !== undefined));

const flat = (fields) => fields.flatMap((entry) => [entry, ...flat(entry.fields)]);

/** Say at each field what is wrong with it, the first of them in focus; gives back what belongs to no field. */
export function tell(fields, errors) {
  const all = flat(fields);
  for (const entry of all) entry.tell("");
  const rest = [];
  let first = null;
  for (const { pointer, detail } of errors) {
    const closest = all.filter((entry) => entry.element && (pointer === entry.pointer || pointer.startsWith(`${entry.pointer}/`))).sort((one, other) => other.pointer.length - one.pointer.length)[0];
    if (!closest) {
      rest.push(detail);
      continue;
    }
    const control = closest.tell(detail);
    first ??= control;
  }
  first?.focus();
  return rest;
}
