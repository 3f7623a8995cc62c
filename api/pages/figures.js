// Figures: the service's Vega-Lite specifications, drawn when they come into view, in the page's light or dark.
import { find, h, say } from "./elements.js";
import { get } from "./service.js";

const MOST_ELEMENTS = 2000; // of a figure drawn as SVG; larger ones are drawn on a canvas
const NARROWEST = 140; // pixels between the axes
const WIDEST = 900;
const WIDE = new Set(["metrics"]); // figures of many panels
const AXES = 80; // pixels that a panel takes beside its width
const NARROW = 480; // room from which legends stand below

const dark = matchMedia("(prefers-color-scheme: dark)");
let script = null;

/** The script is large: it comes with the first figure. */
function vega() {
  script ??= new Promise((resolve, reject) => {
    const element = h("script", { src: document.documentElement.dataset.vega });
    element.addEventListener("load", () => resolve(window.vegaEmbed));
    element.addEventListener("error", () => {
      script = null;
      reject(new Error("What draws the figures could not be loaded. Load the page again; the figure is there as SVG and PNG, too."));
    });
    document.head.append(element);
  });
  return script;
}

const shown = new Map(); // element of a figure → draw

const inView = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting || target.dataset.state !== "waiting") continue;
      inView.unobserve(target);
      shown.get(target)?.();
    }
  },
  { rootMargin: "200px" },
);

dark.addEventListener("change", () => {
  for (const [element, draw] of shown) {
    if (!element.isConnected) shown.delete(element);
    else if (element.dataset.state !== "waiting") draw();
  }
});

/** A figure with its title and its links. `links`: svg, png, vega_lite, as the service lists them; `wide`: it takes all
    the room there is. */
export function figure(title, links, { wide = false } = {}) {
  const drawing = h("div", { class: "drawing", tabindex: "0", role: "region", "aria-label": `Figure: ${title}` });
  const state = h("p", { class: "state" }, "The figure is drawn when it comes into view.");
  const formats = { SVG: links.svg, PNG: links.png, "Vega-Lite": links.vega_lite };
  const element = h("figure", { class: wide ? "plot wide" : "plot", "data-state": "waiting" },
    h("figcaption", {}, title), drawing, state,
    h("p", { class: "links" }, Object.entries(formats).map(([format, link]) =>
      h("a", { href: link, download: fileName(link), "aria-label": `${format} of ${title}` }, format))));
  const draw = () => show(element, drawing, state, links.vega_lite, wide);
  shown.set(element, draw);
  inView.observe(element);
  return element;
}

const fileName = (link) => decodeURIComponent(link.split("?")[0].split("/").pop());

/** Put another figure in the place of one. */
export function replaceFigure(place, title, links, options) {
  const now = find("figure.plot", place);
  if (now?.dataset.link === links.vega_lite) return;
  const next = figure(title, links, options);
  next.dataset.link = links.vega_lite;
  if (now) next.style.minHeight = `${now.offsetHeight}px`; // what is below it does not jump
  shown.delete(now);
  place.replaceChildren(next);
}

async function show(element, drawing, state, link, wide) {
  element.dataset.state = "drawing";
  element.setAttribute("aria-busy", "true");
  say(state, "Drawing …");
  try {
    const [embed, specification] = await Promise.all([vega(), get(themed(link))]);
    await draw(embed, drawing, specification, wide);
    element.dataset.state = "drawn";
    say(state, "");
  } catch (error) {
    element.dataset.state = "failed";
    say(state, error.message);
  } finally {
    element.removeAttribute("aria-busy");
    element.style.minHeight = "";
  }
}

const themed = (link) => (dark.matches ? `${link}${link.includes("?") ? "&" : "?"}theme=dark` : link);

async function draw(embed, drawing, specification, wide) {
  const room = drawing.clientWidth;
  const { view } = await embed(drawing, fitted(specification, room), {
    ast: true, // expressions are interpreted: the page runs no code that was made from text
    renderer: size(specification) > MOST_ELEMENTS ? "canvas" : "svg",
    actions: false,
    defaultStyle: false,
    tooltip: { disableDefaultStyle: true, theme: "page" },
  });
  const spare = room - (drawing.querySelector("svg, canvas")?.getBoundingClientRect().width ?? room);
  if (typeof specification.width === "number" && (spare < 0 || wide)) {
    await view.width(Math.min(WIDEST, Math.max(NARROWEST, view.width() + spare))).runAsync();
  }
}

/** The specification for so much room: its title is the caption, panels are under each other where it is narrow. */
function fitted(specification, room) {
  const { title, ...rest } = specification;
  const config = { ...rest.config, background: "transparent", padding: 4, mark: { tooltip: true } };
  // A line alone tells nothing of the values under the pointer: points that are not seen do.
  if (!JSON.stringify(rest).includes('"type":"point"')) config.line = { ...config.line, point: "transparent" };
  if (room < NARROW) config.legend = { ...config.legend, orient: "bottom", columns: 2 };
  const panel = AXES + panelWidth(rest);
  if (rest.columns) rest.columns = Math.max(1, Math.min(rest.columns, Math.floor(room / panel)));
  if (rest.hconcat && room < rest.hconcat.length * panel) return { ...rest, hconcat: undefined, vconcat: rest.hconcat, config };
  return { ...rest, config };
}

/** Of the panels of a figure, where one says how wide it is. */
const panelWidth = (specification) =>
  [specification.concat, specification.hconcat, specification.spec].flat().map((panel) => panel?.width).find((width) => typeof width === "number") ?? 250;

const size = (specification) => {
  const sets = [specification.data?.values ?? [], ...Object.values(specification.datasets ?? {})];
  const rows = sets.reduce((sum, set) => sum + set.length, 0);
  const inner = [specification.layer, specification.concat, specification.hconcat, specification.vconcat].flat();
  return inner.reduce((sum, part) => sum + (part ? size(part) : 0), rows);
};

/** Several figures; of those that are of one sort, one at a time, to be chosen. */
export function gallery(plots) {
  const sorts = new Map();
  for (const plot of plots) {
    const sort = plot.name.includes("-") ? plot.name.split("-")[0] : plot.name;
    sorts.set(sort, [...(sorts.get(sort) ?? []), plot]);
  }
  return [...sorts].flatMap(([sort, members]) =>
    members.length > 2 ? [chooser(sort, members)] : members.map((plot) => figure(plot.title, plot, { wide: WIDE.has(plot.name) })));
}

function chooser(sort, members) {
  const place = h("div", {});
  const options = members.map((plot, index) => h("option", { value: index }, plot.title));
  const choose = h("select", { id: `choose-${sort}`, onchange: () => show() }, options);
  const step = (by) => {
    choose.selectedIndex = Math.min(members.length - 1, Math.max(0, choose.selectedIndex + by));
    show();
  };
  const show = () => {
    const plot = members[choose.selectedIndex];
    replaceFigure(place, plot.title, plot);
  };
  show();
  const LABELS = { metric: "One metric, layer by layer", gram: "Gram matrix of one layer" };
  return h("div", { class: "chooser" },
    h("div", { class: "row" }, h("label", { for: choose.id }, LABELS[sort] ?? `Figures: ${sort}`), choose,
      h("button", { type: "button", class: "plain", onclick: () => step(-1) }, "Previous"),
      h("button", { type: "button", class: "plain", onclick: () => step(1) }, "Next")),
    place);
}
