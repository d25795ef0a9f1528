// Cards of hits, and the dialog that shows one of them whole.

export function element(tag, properties = {}) {
  return Object.assign(document.createElement(tag), properties);
}

const address = (path, values) =>
  `${path}?${new URLSearchParams(Object.entries(values).filter(([, value]) => value !== null && value !== undefined))}`;

const picture = (shown, side) => address("/picture", { ...shown, side });

function span(hit) {
  // A media fragment: the player starts at the hit and stops at its end.
  if (hit.start_ms === null || hit.start_ms === undefined) return "";
  const end = hit.end_ms ? `,${hit.end_ms / 1000}` : "";
  return `#t=${hit.start_ms / 1000}${end}`;
}

function unplayable(player, hit) {
  player.addEventListener("error", () => {
    const note = element("p", { className: "none", textContent: "This browser does not play it: download it." });
    if (player.tagName === "VIDEO" && hit.picture) {
      player.replaceWith(element("img", { src: picture(hit.picture, 480), alt: hit.label, title: note.textContent }));
    } else player.replaceWith(note);
  }, { once: true });
  return player;
}

export function player(hit, side) {
  const source = address("/media", { uri: hit.uri }) + span(hit), ariaLabel = hit.label ?? hit.name;
  if (hit.player === "audio") {
    return unplayable(element("audio", { controls: true, preload: "metadata", src: source, ariaLabel }), hit);
  }
  const made = element("video", { controls: true, preload: "none", playsInline: true, src: source, ariaLabel });
  if (hit.picture) made.poster = picture(hit.picture, side);
  return unplayable(made, hit);
}

function clock(ms) {
  const s = Math.floor(ms / 1000), two = (n) => String(n).padStart(2, "0");
  return `${s >= 3600 ? `${Math.floor(s / 3600)}:` : ""}${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
}

function icon(path, className) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  line.setAttribute("d", path);
  made.setAttribute("viewBox", "0 0 24 24");
  made.setAttribute("aria-hidden", "true");
  if (className) made.setAttribute("class", className);
  made.append(line);
  return made;
}

function film(hit) {
  // Nothing of a video is fetched before somebody wants to see it.
  const video = player(hit, 480), from = clock(hit.start_ms ?? 0);
  const play = element("button", { type: "button", className: "play", ariaLabel: `Play ${hit.name} from ${from}` });
  const disc = element("span");
  disc.append(icon("M7 4.5v15l13-7.5z"));
  play.append(disc);
  video.controls = false;
  const time = element("span", { className: "clock", textContent: from });
  play.onclick = (event) => {
    event.stopPropagation();
    video.controls = true;
    play.remove();
    time.remove();
    video.focus();
    video.play().catch(() => {});
  };
  return [video, play, time];
}

function image(hit, side, eager) {
  const made = element("img", { src: picture(hit.picture, side), alt: hit.label ?? hit.name, loading: eager ? "eager" : "lazy", decoding: "async" });
  made.addEventListener("error", async () => {
    const answer = await fetch(made.src).then((found) => found.json()).catch(() => ({}));
    made.replaceWith(element("p", { className: "none", textContent: answer.error ?? "It cannot be shown now." }));
  }, { once: true });
  return made;
}

function sound() {
  return icon("M4 10v4M8 6.5v11M12 3v18M16 6.5v11M20 10v4", "sound-sign");
}

function flowing(hit) {
  // Lines of prose that were wrapped in their file are joined; rows and code keep theirs.
  const kept = /^rows/.test(hit.where) || /x-|json|csv|subrip|vtt/.test(hit.media_type ?? "");
  return kept ? hit.text : (hit.text ?? "").replace(/([^\n])\n(?!\n)/g, "$1 ");
}

function stage(hit) {
  const box = element("div", { className: "stage" });
  if (hit.player === "audio") {
    box.classList.add("sound");
    box.append(sound(), player(hit));
  } else if (hit.player === "video") {
    box.append(...film(hit));
  } else if (hit.picture) {
    if (hit.picture.page) box.classList.add("page");
    box.append(image(hit, 480));
  } else {
    box.classList.add("words");
    box.append(element("blockquote", { textContent: flowing(hit) || "No text, and nothing to show." }));
  }
  return box;
}

function title(hit) {
  const clocked = hit.start_ms !== null && hit.start_ms !== undefined;
  const made = element("button", { type: "button", ariaLabel: `${hit.label}, ${hit.modality}: open` });
  if (hit.within) made.append(element("i", { textContent: hit.within }));
  made.append(hit.name);
  if (hit.where && !hit.where.startsWith("chars")) made.append(" ", element("i", { textContent: (clocked ? "@ " : "") + hit.where }));
  return made;
}

export function card(hit, browsing, more) {
  const made = element("article", { className: "card" });
  const about = element("div", { className: "about" }), heading = element("h3"), meta = element("div", { className: "meta" });
  const opener = title(hit), box = stage(hit);
  const open = () => made.dispatchEvent(new CustomEvent("open-card", { bubbles: true, detail: hit }));
  opener.onclick = open;
  if (!hit.player) { box.onclick = open; box.style.cursor = "zoom-in"; }
  heading.append(opener);
  meta.append(element("span", { className: "tag", textContent: hit.modality }));
  if (!browsing) {
    const score = element("span", { className: "score", title: "cosine with the query" });
    const track = element("span", { className: "track" }), bar = element("i");
    bar.style.width = `${Math.max(0, Math.min(1, hit.score)) * 100}%`;
    track.append(bar);
    score.append(track, hit.score.toFixed(3));
    meta.append(score);
  }
  const like = element("button", { type: "button", className: "like", textContent: "More like this", ariaLabel: `More like ${hit.label}` });
  like.onclick = () => more(hit);
  meta.append(like);
  about.append(heading);
  if (hit.text && (hit.picture || hit.player)) about.append(element("blockquote", { textContent: hit.text }));
  about.append(meta);
  made.append(box, about);
  return made;
}

async function words(hit, json) {
  const made = element("div", { className: "prose" });
  made.append(hit.text);
  if (hit.modality === "text") {
    const { before, after } = await json(address("/api/around", { uri: hit.uri, ordinal: hit.ordinal })).catch(() => ({}));
    if (before || after) made.replaceChildren(element("mark", { textContent: hit.text }));
    if (before) made.prepend(element("span", { className: "dim", textContent: before }), " ");
    if (after) made.append(" ", element("span", { className: "dim", textContent: after }));
  }
  return made;
}

async function parts(hit, json) {
  const { parts: found } = await json(address("/api/parts", { uri: hit.uri }));
  return found.map((part) => {
    const made = element("div", { className: "part" });
    if (part.type === "title") made.append(element("strong", { textContent: part.text }));
    else if (part.type === "text") made.append(element("span", { textContent: part.text }));
    else {
      if (part.player) made.append(player(part, 480));
      else if (part.picture) made.append(image(part, 480));
      made.append(element("small", { textContent: `${part.type}: ${part.name}` }));
    }
    return made;
  });
}

function facts(hit) {
  const list = element("dl");
  const rows = { From: hit.uri, Kind: hit.media_type, Where: hit.where, Score: hit.score ? hit.score.toFixed(4) : null, ...hit.metadata };
  for (const [name, value] of Object.entries(rows)) {
    if (value === null || value === "" || value === undefined) continue;
    list.append(element("dt", { textContent: name }), element("dd", { textContent: value }));
  }
  const original = element("a", { href: address("/download", { uri: hit.uri }), textContent: "Download the original", download: "" });
  const line = element("dd");
  line.append(original);
  list.append(element("dt", { textContent: "File" }), line);
  return list;
}

export async function detail(dialog, hit, json, more) {
  const body = dialog.querySelector(".body"), shown = [];
  dialog.querySelector("h2").replaceChildren((hit.within ?? "") + hit.label);
  const like = element("button", { type: "button", className: "like", textContent: "More like this" });
  like.onclick = () => more(hit);
  const below = element("div");
  below.append(like);
  if (hit.player) shown.push(player(hit, 1400));
  else if (hit.picture) shown.push(image(hit, 1400, true));
  body.replaceChildren(...shown, below, facts(hit));
  dialog.showModal();
  if (hit.document) below.before(...(await parts(hit, json).catch((error) => [element("p", { textContent: error.message })])));
  else if (hit.text) below.before(await words(hit, json));
}
