// What a view is: its permalink, and numbers for people.

const NUMBERS = ["x", "y", "zoom", "opacity", "threshold"];
const TEXTS = ["slide", "class", "style", "overlay"];

/** The view that a location's hash says: x and y are level-0 pixels of the center, zoom is screen
 *  pixels per level-0 pixel. What is missing or no number is left out. */
export function readHash(hash) {
  const said = new URLSearchParams(hash.replace(/^#/, ""));
  const view = {};
  for (const name of TEXTS) if (said.has(name)) view[name] = said.get(name);
  for (const name of NUMBERS) {
    const value = parseFloat(said.get(name));
    if (Number.isFinite(value)) view[name] = value;
  }
  return view;
}

/** The hash of a view. */
export function writeHash(view) {
  const said = new URLSearchParams();
  for (const name of [...TEXTS, ...NUMBERS]) {
    if (view[name] !== undefined && view[name] !== "") said.set(name, view[name]);
  }
  return `#${said}`;
}

/** A round length of about 120 screen pixels: {px, text}. */
export function scaleBar(umPerScreenPx) {
  const most = 140 * umPerScreenPx;
  const power = 10 ** Math.floor(Math.log10(most));
  const um = [5, 2, 1].map((n) => n * power).find((n) => n <= most);
  const text = um >= 1000 ? `${um / 1000} mm` : um >= 1 ? `${um} µm` : `${Math.round(um * 1000)} nm`;
  return { px: um / umPerScreenPx, text };
}

/** With a digit more near the ends, where only all is 100 % and only nothing 0 %. */
export function percent(value) {
  if (value > 0.99 && value < 1) return `${(Math.floor(value * 1000) / 10).toFixed(1)} %`;
  return `${(100 * value).toFixed(value > 0 && value < 0.1 ? 1 : 0)} %`;
}

/** A new element with text; nothing is ever parsed as HTML. */
export function element(name, className = "", text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== "") made.textContent = text;
  return made;
}
