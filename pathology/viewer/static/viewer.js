// The page: what is chosen, what that shows, and the keys.

import { ALL, Overlay } from "./overlay.js";
import {
  listClasses, listSlides, listSuspicious, markSlide, markSuspicious, say, showFacts, showHover, showLegend,
  showPairs,
} from "./panels.js";
import { Stage } from "./stage.js";
import { readHash, scaleBar, writeHash } from "./view.js";

const $ = (id) => document.getElementById(id);
const chosen = { class: "", opacity: 0.5, threshold: 0.1, style: "original", overlay: "on" };
let slides = [];
let found = []; // slides that the search leaves
let slide = null; // the open one, as the server describes it
let wanted = ""; // id of the one that was asked for last
let overlay = null;
let hovered = -1;
let rank = -1; // of the suspicious tile that was gone to
let isBroken = false; // a tile of the open slide could not be read

if (!window.OpenSeadragon) {
  say("OpenSeadragon could not be loaded. Run `make viewer` where pathology is installed, and start it again.");
  throw new Error("OpenSeadragon is missing");
}

const stage = new Stage($("stage"), (context, toScreen) => {
  if (overlay && chosen.overlay === "on") overlay.draw(context, toScreen, chosen.opacity);
  if (overlay && rank >= 0) overlay.outline(context, toScreen, suspicious()[rank], "#24313a", 2);
  if (overlay && hovered >= 0) overlay.outline(context, toScreen, hovered, "#24313a", 1);
  showScale();
});

async function ask(path, slideId) {
  let answer;
  try {
    answer = await fetch(slideId === undefined ? path : `${path}?slide=${encodeURIComponent(slideId)}`);
  } catch {
    throw new Error("The viewer does not answer. Is `pathology serve` still running?");
  }
  if (answer.ok) return answer.json();
  const said = await answer.json().catch(() => ({}));
  throw new Error(said.problem || `The viewer refused (${answer.status}). Open its whole address again.`);
}

const listed = (slideId) => slides.find((one) => one.id === slideId);
const suspicious = () => overlay.suspicious[overlay.classNumber(chosen.class)];

/** Open a slide, at a view if one is given. What cannot be shown is said; the rest goes on. */
async function openSlide(slideId, view = {}) {
  wanted = slideId;
  [slide, overlay, hovered, rank, isBroken] = [null, null, -1, -1, false];
  stage.close();
  say("");
  $("hover").hidden = true;
  $("slide-name").textContent = slideId;
  $("facts").replaceChildren();
  markSlide(slideId);
  showOverlayControls();
  const about = listed(slideId);
  try {
    if (!about) throw new Error(`This run has no slide ${slideId}.`);
    const described = await ask("api/slide", slideId);
    const predicted = about.has_predictions ? new Overlay(await ask("api/predictions", slideId)) : null;
    if (wanted !== slideId) return;
    [slide, overlay] = [described, predicted];
    document.title = `${slideId} · research use only`;
    showFacts(slide, about);
    showOverlayControls();
    await fitColors();
    if (wanted !== slideId) return;
    await stage.open(slide, chosen.style);
    if (wanted !== slideId) return;
    stage.go(view, true);
    remember();
  } catch (error) {
    if (wanted !== slideId) return;
    say(`${slideId}: ${error.message}`);
    remember();
  }
}

function showOverlayControls() {
  $("no-predictions").hidden = Boolean(overlay) || !slide;
  for (const id of ["overlay-controls", "suspicious-controls"]) $(id).hidden = !overlay;
  $("show").checked = chosen.overlay === "on";
  for (const name of ["opacity", "threshold"]) {
    $(name).value = chosen[name];
    $(`${name}-text`).textContent = Number(chosen[name]).toFixed(2);
  }
  if (!overlay) return;
  if (chosen.class !== ALL) chosen.class = overlay.classes[overlay.classNumber(chosen.class)];
  overlay.paint(chosen.class, chosen.threshold);
  listClasses(overlay, chosen.class);
  showLegend(overlay, chosen.class);
  listSuspicious(overlay, overlay.classNumber(chosen.class), goToSuspicious);
  markSuspicious(rank);
  stage.draw();
}

function change(name, value) {
  if (name === "class") rank = -1;
  chosen[name] = value;
  showOverlayControls();
  stage.draw();
  remember();
}

async function changeStyle(style) {
  chosen.style = style;
  document.querySelectorAll("input[name=style]").forEach((input) => { input.checked = input.value === style; });
  remember();
  const shown = slide;
  await fitColors();
  if (shown && shown === slide && chosen.style === style) stage.restyle(shown, style);
}

/** Have the server fit the slide's colors before tiles wait for it; say what stands in the way. */
async function fitColors() {
  $("style-problem").hidden = true;
  if (!slide || chosen.style !== "normalized") return;
  const slideId = slide.id;
  const { problem } = await ask("api/normalization", slideId).catch((error) => ({ problem: error.message }));
  if (slideId !== wanted || !problem) return;
  $("style-problem").textContent = `Shown as scanned: ${problem}`;
  $("style-problem").hidden = false;
}

function goToSuspicious(number) {
  if (!overlay || !suspicious().length) return;
  rank = (number + suspicious().length) % suspicious().length;
  const [x, y] = overlay.center(suspicious()[rank]);
  const room = Math.min($("stage").clientWidth, $("stage").clientHeight);
  stage.go({ x, y, zoom: Math.min(2, room / 3 / overlay.l0_edge) });
  markSuspicious(rank);
  stage.draw();
}

function step(by) {
  const place = found.findIndex((one) => one.id === wanted);
  const next = found[Math.min(Math.max(place + by, 0), found.length - 1)];
  if (next && next.id !== wanted) openSlide(next.id);
}

function showScale() {
  $("scale").hidden = !slide || !slide.mpp || !stage.image;
  if ($("scale").hidden) return;
  const bar = scaleBar(slide.mpp / stage.scale());
  $("scale-bar").style.width = `${bar.px}px`;
  $("scale-text").textContent = bar.text;
}

/** Put the view into the address, which thereby is its permalink. */
function remember() {
  const { overlay: shown, ...said } = chosen;
  const hash = writeHash({ slide: wanted, ...said, overlay: shown === "off" ? "off" : "", ...stage.view() });
  if (hash !== location.hash) history.replaceState(null, "", hash);
}

function follow() {
  const view = readHash(location.hash);
  for (const name of Object.keys(chosen)) if (view[name] !== undefined) chosen[name] = view[name];
  for (const name of ["opacity", "threshold"]) chosen[name] = Math.min(Math.max(chosen[name], 0), 1);
  const known = [...document.querySelectorAll("input[name=style]")].map((input) => input.value);
  if (!known.includes(chosen.style) || $("style-controls").hidden) chosen.style = "original";
  document.querySelectorAll("input[name=style]").forEach((input) => { input.checked = input.value === chosen.style; });
  const first = found.find((one) => one.has_file && one.has_predictions) ?? found.find((one) => one.has_file);
  const slideId = view.slide ?? (first ?? found[0])?.id;
  if (slideId !== undefined) openSlide(slideId, view);
}

async function copyLink() {
  remember();
  await navigator.clipboard?.writeText(location.href).then(
    () => say("The link to this view was copied.", true), () => say("Copy the link from the address bar.", true));
  setTimeout(() => { if ($("message").classList.contains("calm")) say(""); }, 2000);
}

const KEYS = [
  [["n"], "N", "next suspicious tile", () => goToSuspicious(rank + 1)],
  [["p"], "P", "previous suspicious tile", () => goToSuspicious(Math.max(rank, 0) - 1)],
  [["j"], "J", "next slide", () => step(1)],
  [["k"], "K", "previous slide", () => step(-1)],
  [["o"], "O", "overlay on or off", () => change("overlay", chosen.overlay === "on" ? "off" : "on")],
  [["["], "[", "overlay paler", () => change("opacity", Math.max(0, Math.round(chosen.opacity * 20 - 2) / 20))],
  [["]"], "]", "overlay stronger", () => change("opacity", Math.min(1, Math.round(chosen.opacity * 20 + 2) / 20))],
  [["c"], "C", "next class", () => overlay && change("class", nextClass())],
  [["s"], "S", "original or normalized colors", () => $("style-controls").hidden || changeStyle(
    chosen.style === "original" ? "normalized" : "original")],
  [["+", "="], "+ −", "zoom in, out", () => stage.zoomBy(1.5)],
  [["-"], "", "", () => stage.zoomBy(1 / 1.5)],
  [["0", "Home"], "0", "the whole slide", () => stage.home()],
  [["ArrowLeft"], "← ↑ ↓ →", "move", () => stage.panBy(-0.2, 0)],
  [["ArrowRight"], "", "", () => stage.panBy(0.2, 0)],
  [["ArrowUp"], "", "", () => stage.panBy(0, -0.2)],
  [["ArrowDown"], "", "", () => stage.panBy(0, 0.2)],
  [["/"], "/", "search slides", () => $("search").focus()],
  [["l"], "L", "copy the link to this view", copyLink],
  [["?"], "?", "these keys", () => $("help").showModal()],
];

function nextClass() {
  const names = [...overlay.classes, ALL];
  return names[(names.indexOf(chosen.class) + 1) % names.length];
}

document.addEventListener("keydown", (event) => {
  const { target, key } = event;
  if (key === "Escape" && target === $("search")) target.blur();
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  if (target.matches("select, input[type=search]")) return;
  if (target.matches("input[type=range], input[type=radio]") && /^Arrow|^Home/.test(key)) return;
  const known = KEYS.find(([keys]) => keys.includes(key.length === 1 ? key.toLowerCase() : key));
  if (!known) return;
  event.preventDefault();
  known[3]();
});

$("stage").addEventListener("pointermove", (event) => {
  if (!overlay || !stage.image) return;
  const { x, y } = stage.position(event);
  const tile = overlay.tileAt(x, y);
  if (tile >= 0) showHover(overlay, tile, [event.offsetX, event.offsetY]);
  else $("hover").hidden = true;
  if (tile !== hovered) {
    hovered = tile;
    stage.draw();
  }
});
$("stage").addEventListener("pointerleave", () => {
  hovered = -1;
  $("hover").hidden = true;
  stage.draw();
});
stage.viewer.addHandler("animation-finish", remember);
stage.viewer.addHandler("tile-load-failed", async ({ tile }) => {
  if (isBroken || !slide) return;
  isBroken = true;
  const answer = await fetch(tile.getUrl()).then((said) => said.json()).catch(() => ({}));
  say(`${wanted}: ${answer.problem ?? "some tiles cannot be read"}`);
});
$("search").addEventListener("input", () => {
  found = listSlides(slides, $("search").value, openSlide);
  markSlide(wanted);
});
$("show").addEventListener("change", () => change("overlay", $("show").checked ? "on" : "off"));
$("class").addEventListener("change", () => change("class", $("class").value));
for (const name of ["opacity", "threshold"]) {
  $(name).addEventListener("input", () => change(name, Number($(name).value)));
}
document.querySelectorAll("input[name=style]").forEach((input) =>
  input.addEventListener("change", () => changeStyle(input.value)));
$("next").addEventListener("click", () => goToSuspicious(rank + 1));
$("previous").addEventListener("click", () => goToSuspicious(Math.max(rank, 0) - 1));
$("copy-link").addEventListener("click", copyLink);
$("open-help").addEventListener("click", () => $("help").showModal());
window.addEventListener("hashchange", follow);
showPairs($("keys"), KEYS.filter(([, shown]) => shown).map(([, shown, said]) => [shown, said]));

try {
  const all = await ask("api/slides");
  slides = all.slides;
  $("style-controls").hidden = all.styles.length < 2;
  found = listSlides(slides, "", openSlide);
  follow();
} catch (error) {
  say(error.message);
}
