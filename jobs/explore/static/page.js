// The page's behaviour. What comes from a lake is only ever set as text or as an address of this server.
import { card, detail, element } from "./cards.js";

const at = (id) => document.getElementById(id);
const words = at("words"), results = at("results"), message = at("message"), status = at("status");
const files = [];
let asked = 0, like = null, lake = null, waiting = false;

async function json(url, options) {
  let answer;
  try {
    answer = await fetch(url, options);
  } catch {
    throw new Error("the server does not answer: was it stopped?");
  }
  const body = await answer.json().catch(() => ({ error: "the server refused: open the address that the command printed" }));
  if (!answer.ok) throw Object.assign(new Error(body.error), { status: answer.status });
  return body;
}

function say(text, turning = false) {
  status.replaceChildren(...(turning ? [element("span", { className: "turn" })] : []), text);
}

function modality() {
  return document.querySelector("#modalities :checked")?.value || null;
}

function question() {
  const parts = files.map((file) => ({ kind: file.kind, value: file.id }));
  if (words.value.trim()) parts.push({ kind: "text", value: words.value.trim() });
  return {
    parts: like ? [] : parts, like: like?.id ?? null, modality: modality(), where: at("where").value.trim() || null,
    width: Number(at("width").value) || null, limit: Number(at("limit").value),
  };
}

function remember(query) {
  const kept = new URLSearchParams();
  if (words.value.trim()) kept.set("q", words.value.trim());
  for (const name of ["modality", "where"]) if (query[name]) kept.set(name, query[name]);
  if (at("width").selectedIndex > 0) kept.set("width", at("width").value);
  history.replaceState(null, "", kept.size ? `#${kept}` : location.pathname);
}

async function search() {
  const query = question(), number = ++asked;
  remember(query);
  message.textContent = "";
  at("where").removeAttribute("aria-invalid");
  const browsing = !query.parts.length && !query.like;
  if (!browsing && lake.state === "loading") {
    waiting = true;
    return say("The model is being loaded; the search starts as soon as it is there.", true);
  }
  results.classList.add("busy");
  say(browsing ? "" : "Searching", !browsing);
  const started = performance.now();
  try {
    const { hits } = await json("/api/search", { method: "POST", body: JSON.stringify(query) });
    if (number === asked) show(hits, query, browsing, performance.now() - started);
  } catch (error) {
    if (number !== asked) return;
    message.textContent = error.message;
    if (error.status === 400 && query.where) at("where").setAttribute("aria-invalid", "true");
    say("");
  } finally {
    if (number === asked) results.classList.remove("busy");
  }
}

function show(hits, query, browsing, ms) {
  results.replaceChildren(...hits.map((hit) => card(hit, browsing, more)));
  if (!hits.length) results.append(nothing(query));
  const found = `${hits.length} hit${hits.length === 1 ? "" : "s"}`;
  const narrowed = query.where || query.modality;
  if (!hits.length) say("");
  else if (browsing) say(narrowed ? "What the filter leaves" : "A look into the corpus");
  else say(`${found}${like ? ` like ${like.label}` : ""}, best first, in ${(ms / 1000).toFixed(1)} s`);
}

function nothing(query) {
  const reason = query.where || query.modality ? "Nothing passes the filters: loosen them." : "This corpus holds no segments yet.";
  const box = element("div", { className: "empty" });
  box.append(element("strong", { textContent: "No hits" }), reason);
  return box;
}

function more(hit) {
  like = hit;
  words.value = "";
  for (const file of files.splice(0)) file.chip.remove();
  at("detail").close();
  scrollTo({ top: 0 });
  search();
}

async function add(list) {
  message.textContent = "";
  for (const file of list) {
    try {
      const made = await json(`/api/uploads?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file });
      attach({ ...made, name: file.name, file });
    } catch (error) {
      message.textContent = error.message;
    }
  }
  if (files.length) { like = null; search(); }
}

function attach(entry) {
  const chip = element("div", { className: "file", role: "listitem" });
  const drop = element("button", { type: "button", textContent: "✕", ariaLabel: `Remove ${entry.name}` });
  if (entry.kind === "image") {
    const picture = element("img", { src: URL.createObjectURL(entry.file), alt: "" });
    picture.onload = () => URL.revokeObjectURL(picture.src);
    chip.append(picture);
  } else {
    chip.append(element("span", { className: "kind", textContent: entry.kind }));
  }
  drop.onclick = () => { files.splice(files.indexOf(entry), 1); chip.remove(); words.focus(); search(); };
  chip.append(element("span", { textContent: entry.name }), drop);
  entry.chip = chip;
  files.push(entry);
  at("files").append(chip);
}

function fill(facts) {
  lake = facts;
  document.title = `${facts.corpus} in embedlake`;
  const count = (n, one) => `${n.toLocaleString("en")} ${one}${n === 1 ? "" : "s"}`;
  at("facts").textContent = `${facts.corpus}: ${count(facts.assets, "asset")}, ${count(facts.segments, "segment")}, by ${facts.model}`;
  at("facts").title = facts.lake;
  const kept = new URLSearchParams(location.hash.slice(1));
  const kinds = [["", "All", facts.segments], ...Object.entries(facts.modalities).map(([kind, n]) => [kind, kind, n])];
  at("modalities").replaceChildren(...kinds.map(([value, name, n]) => {
    const label = element("label", { className: "tag" });
    const radio = element("input", { type: "radio", name: "modality", value, checked: value === (kept.get("modality") || "") });
    label.append(radio, name, element("small", { textContent: n.toLocaleString("en") }));
    return label;
  }));
  at("width").replaceChildren(...facts.widths.map((width) => element("option", { textContent: width })));
  at("columns").replaceChildren(...facts.columns.map((c) => element("option", { value: `${c.name} = `, label: c.type })));
  words.value = kept.get("q") || "";
  at("where").value = kept.get("where") || "";
  if (kept.get("width")) at("width").value = kept.get("width");
}

async function watch() {
  while (lake.state === "loading") {
    await new Promise((go) => setTimeout(go, 700));
    const now = await json("/api/lake").catch(() => lake);
    Object.assign(lake, { state: now.state, detail: now.detail });
  }
  if (lake.state === "failed") message.textContent = `${lake.detail} You can look around, but not search.`;
  else if (waiting) search();
}

at("ask").addEventListener("submit", (event) => { event.preventDefault(); like = null; search(); });
at("modalities").addEventListener("change", search);
for (const id of ["width", "limit", "where"]) at(id).addEventListener("change", search);
at("pick").addEventListener("change", () => { add([...at("pick").files]); at("pick").value = ""; });
addEventListener("dragover", (event) => { event.preventDefault(); at("box").classList.add("over"); });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) at("box").classList.remove("over"); });
addEventListener("drop", (event) => { event.preventDefault(); at("box").classList.remove("over"); add([...event.dataTransfer.files]); });
addEventListener("paste", (event) => { if (event.clipboardData.files.length) add([...event.clipboardData.files]); });
addEventListener("keydown", (event) => {
  const typing = event.target.matches?.("input, select, video, audio, textarea");
  if (event.key === "/" && !typing && !at("detail").open) { event.preventDefault(); words.focus(); words.select(); }
  if (typing || at("detail").open || !["ArrowRight", "ArrowLeft"].includes(event.key)) return;
  const all = [...results.querySelectorAll("h3 button")], here = all.indexOf(document.activeElement);
  all[Math.max(0, Math.min(all.length - 1, here + (event.key === "ArrowRight" ? 1 : -1)))]?.focus();
});
results.addEventListener("open-card", (event) => detail(at("detail"), event.detail, json, more));
at("close").addEventListener("click", () => at("detail").close());
at("detail").addEventListener("click", (event) => { if (event.target === at("detail")) at("detail").close(); });
at("detail").addEventListener("close", () => at("detail").querySelector(".body").replaceChildren());

try {
  fill(await json("/api/lake"));
  await Promise.all([search(), watch()]);
} catch (error) {
  message.textContent = error.message;
}
