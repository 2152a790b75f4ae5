// What stands beside the slide: the list of slides, of suspicious tiles, legend, facts, hover.

import { ALL, classColor, rampColor } from "./overlay.js";
import { element, percent } from "./view.js";

const $ = (id) => document.getElementById(id);

/** Buttons of a list: reachable by keyboard, too. */
function asButton(item, act) {
  item.tabIndex = 0;
  item.addEventListener("click", act);
  item.addEventListener("keydown", (event) => {
    if (event.key === "Enter") act();
  });
}

export function listSlides(slides, text, choose) {
  const words = text.toLowerCase().split(/\s+/);
  const found = slides.filter((slide) => {
    const about = [slide.id, slide.grade, slide.label, slide.centre, slide.case].join(" ").toLowerCase();
    return words.every((word) => about.includes(word));
  });
  $("slides").replaceChildren(...found.map((slide) => slideItem(slide, choose)));
  $("count").textContent =
    found.length === slides.length ? `${slides.length} slides` : `${found.length} of ${slides.length} slides`;
  return found;
}

function slideItem(slide, choose) {
  const item = element("li");
  const picture = element("span", "picture");
  if (slide.has_file) {
    const image = element("img");
    image.loading = "lazy";
    image.alt = "";
    image.addEventListener("error", () => image.remove());
    image.src = `api/thumbnail?slide=${encodeURIComponent(slide.id)}&v=${encodeURIComponent(slide.version)}`;
    picture.append(image);
  }
  const words = element("span");
  words.append(element("span", "name", slide.id));
  const grade = slide.grade && `${slide.grade} ${percent(slide.probability ?? 0)}`;
  words.append(slide.problem ? element("span", "said problem", slide.problem)
    : element("span", "said", grade || (slide.has_predictions ? "" : "no predictions")));
  item.append(picture, words);
  item.title = slide.problem ? `${slide.id}: ${slide.problem}` : slide.id;
  item.dataset.slide = slide.id;
  asButton(item, () => choose(slide.id));
  return item;
}

export function markSlide(slideId) {
  for (const item of $("slides").children) {
    item.classList.toggle("open", item.dataset.slide === slideId);
    if (item.dataset.slide === slideId) item.scrollIntoView({ block: "nearest" });
  }
}

export function showFacts(slide, listed) {
  const { mpp } = slide;
  const size = `${slide.width.toLocaleString("en")} × ${slide.height.toLocaleString("en")} px`;
  const facts = [
    ["Size", size],
    ["Area", mpp ? `${((slide.width * mpp) / 1000).toFixed(1)} × ${((slide.height * mpp) / 1000).toFixed(1)} mm` : ""],
    ["Resolution", mpp ? `${Number(mpp.toPrecision(4))} µm/px` : "not known"],
    ["Tiles", listed.num_tiles.toLocaleString("en")], ["Case", listed.case], ["Centre", listed.centre],
    ["Diagnosis", listed.label],
    ["Predicted", listed.grade && `${listed.grade} (${percent(listed.probability ?? 0)})`],
  ];
  showPairs($("facts"), facts.filter(([, value]) => value));
}

export function showPairs(list, pairs) {
  list.replaceChildren(...pairs.flatMap(([name, value]) => [element("dt", "", name), element("dd", "", value)]));
}

export function listClasses(overlay, chosen) {
  const names = [...overlay.classes, ALL];
  $("class").replaceChildren(...names.map((name) => {
    const option = element("option", "", name);
    option.value = name;
    option.selected = name === chosen;
    return option;
  }));
}

function swatch([r, g, b], width = 14, height = 14) {
  const canvas = element("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  context.fillStyle = `rgb(${r} ${g} ${b})`;
  context.fillRect(0, 0, width, height);
  return canvas;
}

export function showLegend(overlay, chosen) {
  const isAll = chosen === ALL;
  $("legend").hidden = isAll;
  $("class-colors").hidden = !isAll;
  $("class-colors").replaceChildren(...overlay.classes.map((name, number) => {
    const item = element("li");
    item.append(swatch(classColor(number, overlay.classes.length)), name);
    return item;
  }));
  const context = $("ramp").getContext("2d");
  for (let i = 0; i < 256; i += 1) {
    context.fillStyle = `rgb(${rampColor(i / 255).join(" ")})`;
    context.fillRect(i, 0, 1, 1);
  }
}

export function listSuspicious(overlay, number, choose) {
  $("suspicious").replaceChildren(...overlay.suspicious[number].map((tile, rank) => {
    const item = element("li");
    const value = overlay.probability(tile, number);
    item.append(element("span", "rank", rank + 1), swatch(rampColor(value)), element("span", "value", percent(value)));
    asButton(item, () => choose(rank));
    return item;
  }));
}

export function markSuspicious(rank) {
  [...$("suspicious").children].forEach((item, i) => {
    item.classList.toggle("open", i === rank);
    if (i === rank) item.scrollIntoView({ block: "nearest" });
  });
}

export function showHover(overlay, tile, [x, y]) {
  const box = $("hover");
  const best = overlay.likeliest(tile);
  const rows = overlay.classes.map((name, number) => {
    const row = element("div", number === best ? "row best" : "row");
    row.append(element("span", "", name), element("span", "", percent(overlay.probability(tile, number))));
    return row;
  });
  const place = element("div", "place", `x ${overlay.l0_x[tile]}, y ${overlay.l0_y[tile]}`);
  box.replaceChildren(...rows, place);
  box.hidden = false;
  const room = box.parentElement.getBoundingClientRect();
  const left = x + 18 + box.offsetWidth > room.width ? x - 18 - box.offsetWidth : x + 18;
  box.style.left = `${Math.max(4, left)}px`;
  box.style.top = `${Math.min(y + 14, room.height - box.offsetHeight - 6)}px`;
}

export function say(text, isCalm = false) {
  $("message").textContent = text;
  $("message").hidden = !text;
  $("message").classList.toggle("calm", isCalm);
}
