// Forms: a file to be measured, a job to be started. Their fields come from the service's own OpenAPI document.
import { bytes, duration, fill, find, h, jobPage, say, words } from "./elements.js";
import { Schemas, collect, properties, tell } from "./fields.js";
import { get, send, start, upload } from "./service.js";

const UPLOADED = "measure_collapse"; // its form is that of the file
const LABELS = ["run", "step", "tags"];

/** Show what the service says is wrong: at the fields where it can be, else above the button. */
function refuse(form, fields, error) {
  const rest = tell(fields, error.errors ?? []);
  if (!error.errors?.length) rest.push(error.message);
  find(".form-error", form).textContent = rest.join(" ");
}

/** Only now it can be sent: before, the browser would send it, in a way of its own. */
const ready = (form) => (find("button", form).disabled = false);

/** The parameters of the kind first, where the job belongs last. */
const inOrder = (schema) => {
  const entries = Object.entries(schema.properties);
  const isLabel = ([name]) => LABELS.includes(name);
  return { ...schema, properties: Object.fromEntries([...entries.filter((entry) => !isLabel(entry)), ...entries.filter(isLabel)]) };
};

function startForm(schemas, mapping, given) {
  const form = find("#start");
  const kind = find("#kind");
  let fields = [];
  const kinds = Object.keys(mapping).filter((name) => name !== UPLOADED);
  fill(kind, kinds.map((name) => h("option", { value: name, selected: name === given.get("kind") }, words(name))));
  const show = () => {
    const schema = inOrder(schemas.resolve({ $ref: mapping[kind.value] }));
    say(find("#about"), schema.description ?? "");
    fields = properties(schemas, schema, "", Object.fromEntries(given));
    fill(find("#fields"), fields.map((field) => field.element));
    find(".form-error", form).textContent = "";
  };
  kind.addEventListener("change", show);
  show();
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    tell(fields, []);
    find(".form-error", form).textContent = "";
    const button = find("button", form);
    button.disabled = true;
    try {
      location.assign(jobPage((await send("POST", "/v1/jobs", collect(fields))).id));
    } catch (error) {
      refuse(form, fields, error);
    } finally {
      button.disabled = false;
    }
  });
  ready(form);
}

/** The query parameters of the one-call form; what the job's schema says of them better is taken from there. */
function uploadFields(schemas, document, mapping) {
  const job = schemas.resolve({ $ref: mapping[UPLOADED] }).properties;
  const parameters = document.paths["/v1/analyses"].post.parameters.filter((parameter) => parameter.in === "query");
  const known = Object.fromEntries(parameters.map(({ name, schema, description }) => [name, job[name] ?? { ...schema, description }]));
  return properties(schemas, inOrder({ properties: known }), "/query");
}

function uploadForm(schemas, document, mapping) {
  const form = find("#upload");
  const input = find("#file");
  const fields = uploadFields(schemas, document, mapping);
  fill(find("#upload-fields"), fields.map((field) => field.element));
  const chosen = () => input.files[0];
  const show = () => chosen() && fill(find("#file-told"), h("bdi", { class: "name" }, chosen().name), `, ${bytes(chosen().size)}`);
  input.addEventListener("change", show);
  dropping(find("#drop"), (files) => {
    input.files = files;
    show();
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    tell(fields, []);
    find(".form-error", form).textContent = "";
    if (!chosen()) {
      find(".form-error", form).textContent = "Choose a file first.";
      return input.focus();
    }
    const query = new URLSearchParams(Object.entries(collect(fields)).map(([name, content]) => [name, Array.isArray(content) ? content.join(",") : String(content)]));
    try {
      await sendFile(form, `/v1/analyses${query.size ? `?${query}` : ""}`, chosen());
    } catch (error) {
      if (error.name !== "AbortError") refuse(form, fields, error);
    }
  });
  ready(form);
}

async function sendFile(form, path, file) {
  const button = find("button", form);
  const control = new AbortController();
  const began = performance.now();
  const progress = (sent) => {
    find("#sent").value = file.size ? sent / file.size : 1;
    const rate = sent / ((performance.now() - began) / 1000);
    say(find("#sent-told"), sent >= file.size ? "All sent; the service checks it …" : `${bytes(sent)} of ${bytes(file.size)}, ${bytes(Math.round(rate))} a second, about ${duration(Math.ceil((file.size - sent) / rate))} left`);
  };
  button.disabled = true;
  find("#sending").hidden = find("#stop").hidden = false;
  find("#stop").onclick = () => control.abort();
  progress(0);
  try {
    location.assign(jobPage((await upload(path, file, progress, control.signal)).id));
  } finally {
    button.disabled = false;
    find("#sending").hidden = find("#stop").hidden = true;
  }
}

function dropping(place, take) {
  for (const name of ["dragenter", "dragover"]) {
    place.addEventListener(name, (event) => {
      event.preventDefault();
      place.classList.add("over");
    });
  }
  for (const name of ["dragleave", "drop"]) place.addEventListener(name, () => place.classList.remove("over"));
  place.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files.length) take(event.dataTransfer.files);
  });
}

start(async () => {
  const [document] = await Promise.all([get("/openapi.json"), get("/v1/jobs?limit=1")]); // the second asks for the key, if one is needed
  const schemas = new Schemas(document);
  const { mapping } = document.paths["/v1/jobs"].post.requestBody.content["application/json"].schema.discriminator;
  uploadForm(schemas, document, mapping);
  startForm(schemas, mapping, new URLSearchParams(location.search));
});
