"use strict";
// Asks for the newest picture, shows it, asks again: a slow screen skips pictures and lags behind nothing.
const token = new URLSearchParams(location.search).get("token") || "";
const headers = token ? { "X-Token": token } : {};
const at = (id) => document.getElementById(id);
const COLORS = { capture: "#5c6bc0", wait: "#455a64", resize: "#26a69a", check: "#9ccc65", normalize: "#ab47bc", network: "#ef5350", draw: "#ffa726" };
let number = 0, isHeld = false;

function write(id, text) { const place = at(id); if (place.textContent !== text) place.textContent = text; }

function say(text, isBad) { write("state", text); at("state").classList.toggle("bad", isBad); at("view").classList.toggle("stale", isBad); document.body.classList.toggle("stale", isBad); }

function bars(chances) {
  const place = at("bars");
  while (place.children.length > chances.length) place.lastChild.remove();
  while (place.children.length < chances.length) {
    const row = document.createElement("div");
    row.className = "bar";
    row.append(document.createElement("span"), document.createElement("meter"), document.createElement("span"));
    place.append(row);
  }
  chances.forEach(([name, value], i) => {
    const [label, meter, share] = place.children[i].children;
    label.textContent = name; label.title = name; meter.value = value; share.textContent = `${Math.round(value * 100)} %`;
  });
}

function parts(timings) {
  const place = at("parts");
  place.replaceChildren();
  const whole = Object.values(timings).reduce((a, b) => a + b, 0) || 1;
  for (const [name, ms] of Object.entries(timings)) {
    const part = document.createElement("div");
    part.style.width = `${(100 * ms) / whole}%`;
    part.style.background = COLORS[name] || "#888";
    part.title = `${name} ${ms.toFixed(0)} ms`;
    place.append(part);
  }
}

function tell(facts) {
  say(facts.state === "live" ? "live" : `${facts.state}: ${facts.message}`, facts.state === "lost");
  if (facts.state === "lost") return; // what was said last stays
  at("simulated").hidden = !facts.is_simulated;
  const isGraded = facts.verdict === "graded";
  write("grade", isGraded ? facts.grade : "not graded");
  write("confidence", isGraded ? `probability ${facts.how_probable}` : facts.reason);
  bars(facts.probabilities);
  write("tiles", `${facts.num_graded} of ${facts.num_tissue} with tissue`);
  write("mpp", `${facts.mpp.toFixed(4)} µm/px, ${facts.mpp_source}`);
  write("latency", `${facts.latency_ms.toFixed(0)} ms`);
  write("p95", `${facts.latency_p95_ms.toFixed(0)} ms`);
  write("fps", facts.fps.toFixed(1));
  write("dropped", String(facts.num_dropped));
  parts(facts.timings);
  for (const name of ["focus", "unlike", "stain"]) write(`check-${name}`, facts.checks[name]);
  write("model", facts.model); write("source", facts.source);
  write("recording", facts.recording || "no"); write("saved", facts.saving ? String(facts.num_saved) : "no");
  const list = at("objective");
  if (facts.objective && document.activeElement !== list) list.value = facts.objective;
}

async function next() {
  const answer = await fetch(`frame?after=${number}`, { headers, cache: "no-store" });
  if (answer.status === 204) return;
  if (!answer.ok) throw new Error(await answer.text());
  const facts = JSON.parse(answer.headers.get("X-Facts"));
  const bitmap = await createImageBitmap(await answer.blob()), view = at("view");
  number = facts.number;
  if (!isHeld) { // picture and facts change together
    if (view.width !== bitmap.width || view.height !== bitmap.height) { view.width = bitmap.width; view.height = bitmap.height; }
    view.getContext("2d").drawImage(bitmap, 0, 0);
    view.hidden = false;
    tell(facts);
  }
  bitmap.close();
}

async function follow() {
  for (;;) {
    try { await next(); }
    catch (error) { say(`no connection (${error.message})`, true); number = 0; await new Promise((go) => setTimeout(go, 1000)); }
  }
}

async function objectives() {
  const names = await (await fetch("objectives", { headers })).json();
  if (names.length < 2) return;
  at("objective-name").hidden = at("objective-place").hidden = false;
  at("objective").replaceChildren(...names.map((name) => new Option(name, name)));
  at("objective").addEventListener("change", (event) => {
    fetch(`objective/${encodeURIComponent(event.target.value)}`, { method: "POST", headers: { ...headers, "X-Pathology": "1" } });
    event.target.blur();
  });
}

document.addEventListener("keydown", (event) => {
  if (event.target.tagName === "SELECT") return;
  if (event.key === " ") { event.preventDefault(); isHeld = !isHeld; if (isHeld) say("held", false); }
  if (event.key === "f") document.fullscreenElement ? document.exitFullscreen() : document.documentElement.requestFullscreen();
});
objectives().catch(() => {});
follow();
