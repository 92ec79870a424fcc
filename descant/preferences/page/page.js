import { Player } from "./audio.js";
import { newId, Refused, send, state, waiting } from "./requests.js";

const MOST_EVENTS = 150;
const SIDES = ["left", "right"];
const LETTERS = { left: "A", right: "B" };
// What each key does: the key, what the button says, and what is done.
const KEYS = {
  "play-left": ["1", "Play A", () => player.toggle("left")],
  "play-right": ["2", "Play B", () => player.toggle("right")],
  left: ["a", "A is better", () => vote("left")],
  tie: ["t", "Tie", () => vote("tie")],
  right: ["b", "B is better", () => vote("right")],
  both_bad: ["n", "Neither: both bad", () => vote("both_bad")],
  skip: ["s", "Skip", () => vote("skip")],
  undo: ["z", "Undo", () => change("undo")],
  redo: ["y", "Redo", () => change("redo")],
  swap: ["x", "Switch between A and B", () => player.swap()],
};
const SAID = { left: "A is better", right: "B is better", tie: "tie", both_bad: "both bad", skip: "skipped" };

const $ = (id) => document.getElementById(id);
const button = (name) => document.querySelector(`[data-key="${name}"]`);
const player = new Player(heard);

let annotator = "";
let now = null; // what the server said last: the pair, the next, progress
let shownAt = 0;
let events = [];
let busy = false;

// Showing.

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

function labelButtons() {
  for (const [name, [key, text, action]] of Object.entries(KEYS)) {
    const one = button(name);
    const kbd = document.createElement("kbd");
    kbd.textContent = key.toUpperCase();
    const label = document.createElement("span");
    label.textContent = text;
    one.replaceChildren(kbd, label);
    one.setAttribute("aria-keyshortcuts", key);
    one.addEventListener("click", action);
  }
}

async function show(next, said = "") {
  now = next;
  const { pair } = now;
  said &&= `${said}.`;
  document.body.dataset.ready = "";
  window.scrollTo(0, 0);
  $("enter").hidden = true;
  $("tools").hidden = false;
  $("task").hidden = !pair;
  $("finished").hidden = Boolean(pair);
  $("leave").textContent = `Not ${annotator}?`;
  showProgress();
  enable(button("undo"), now.undo);
  enable(button("redo"), now.redo);
  events = [];
  $("note").value = "";
  player.clear();
  if (!pair) {
    say(said);
    button("swap").hidden = true;
    document.body.dataset.ready = "finished";
    return;
  }
  $("prompt").hidden = pair.prompt === null;
  $("prompt").textContent = pair.prompt ?? "";
  for (const side of SIDES) showClip(side, pair[side]);
  for (const side of SIDES) button(`play-${side}`).hidden = !sounds(pair[side]);
  button("swap").hidden = !SIDES.every((side) => sounds(pair[side]));
  shownAt = Date.now();
  say(said);
  if (SIDES.some((side) => sounds(pair[side]))) await sound(pair);
  if (now.pair !== pair) return; // judged meanwhile
  document.body.dataset.ready = pair.uuid;
  tick();
  preload();
}

const sounds = (clip) => clip.seconds !== null;

async function sound(pair) {
  try {
    await player.show(...SIDES.map((side) => (sounds(pair[side]) ? pair[side].id : null)));
    const first = SIDES.find((side) => sounds(pair[side]));
    if (now.pair === pair && $("autoplay").checked && player.context) player.toggle(first);
  } catch (error) {
    say(`The sound could not be loaded (${error.message}). Reload the page, or skip this pair.`, true);
  }
}

function showProgress() {
  const { done } = now.you;
  const { pairs, judgements, annotators } = now.all;
  $("place").textContent = now.pair ? `Pair ${Math.min(done + 1, pairs)} of ${pairs}` : `${pairs} of ${pairs}`;
  $("done-bar").max = Math.max(pairs, 1);
  $("done-bar").value = done;
  $("everyone").textContent = `${count(judgements, "judgement")} by ${count(annotators, "annotator")} in all`;
}

const count = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;

function showClip(side, clip) {
  const article = $(side);
  const music = sounds(clip);
  const picture = article.querySelector("picture");
  const image = article.querySelector("img");
  picture.hidden = !music;
  if (music) {
    article.querySelector("source").srcset = `/clips/${clip.id}/score-narrow.svg`;
    image.src = `/clips/${clip.id}/score-wide.svg`;
    image.alt = `Score of ${LETTERS[side]}. ${clip.words}`;
    image.onerror = () => inWords(side, clip);
  } else {
    article.querySelector("source").removeAttribute("srcset");
    image.removeAttribute("src");
    image.alt = "";
  }
  const text = article.querySelector(".text");
  text.hidden = music;
  text.textContent = music ? "" : clip.text;
  article.querySelector("progress").hidden = !music;
  article.querySelector(".time").hidden = !music;
}

// Where there is no score to show, its notes by name.
function inWords(side, clip) {
  if (now.pair?.[side].id !== clip.id) return;
  const text = $(side).querySelector(".text");
  $(side).querySelector("picture").hidden = true;
  text.hidden = false;
  text.textContent = clip.words;
}

function preload() {
  const { pair, next } = now;
  const clips = [pair, next].filter(Boolean).flatMap((one) => [one.left, one.right]);
  player.keep(clips.map((clip) => clip.id));
  for (const clip of clips) {
    if (!sounds(clip)) continue;
    player.load(clip.id).catch(() => {});
    new Image().src = `/clips/${clip.id}/score-${matchMedia("(max-width: 46rem)").matches ? "narrow" : "wide"}.svg`;
  }
}

function enable(one, yes) {
  one.setAttribute("aria-disabled", String(!yes));
}

// Listening.

function heard(side, what, position) {
  if (events.length < MOST_EVENTS) {
    events.push([Math.round(Date.now() - shownAt) / 1000, side, what, Math.round(position * 1000) / 1000]);
  }
  if (what === "end" && side === "left" && $("autoplay").checked) player.toggle("right");
  tick();
}

function listened(side) {
  if (!now?.pair) return 0;
  return sounds(now.pair[side]) ? player.listened(side) : (Date.now() - shownAt) / 1000;
}

// Seconds that are still to be heard, or read, before a judgement.
function missing() {
  return SIDES.map((side) => Math.max(0, now.pair.minimum[side] - listened(side)));
}

function tick() {
  if (!now?.pair) return;
  const left = missing();
  const enough = left.every((seconds) => seconds === 0);
  for (const name of ["left", "right", "tie", "both_bad"]) enable(button(name), enough && !busy);
  enable(button("skip"), !busy);
  $("wait").textContent = enough ? "" : waitText(left);
  for (const side of SIDES) {
    const article = $(side);
    const playing = player.playing === side;
    article.classList.toggle("playing", playing);
    const play = article.querySelector(".play");
    const text = `${playing ? "Pause" : "Play"} ${LETTERS[side]}`;
    if (play.lastChild.textContent !== text) play.lastChild.textContent = text;
    play.setAttribute("aria-pressed", String(playing));
    const duration = player.duration(side);
    article.querySelector("progress").max = duration || 1;
    article.querySelector("progress").value = player.position(side);
    article.querySelector(".time").textContent = `${clock(player.position(side))} / ${clock(duration)}`;
  }
}

function waitText(left) {
  const music = SIDES.map((side) => sounds(now.pair[side]));
  if (!music.includes(true)) return `Read both: ${Math.ceil(Math.max(...left))} s until you can judge.`;
  const same = !music.includes(false); // then it is said once
  const parts = SIDES.flatMap((side, i) => {
    const verb = music[i] ? "listen to " : "read ";
    return left[i] > 0 ? [`${same ? "" : verb}${LETTERS[side]} for ${Math.ceil(left[i])} s`] : [];
  });
  const text = `${same ? "listen to " : ""}${parts.join(" and ")} before you judge.`;
  return text[0].toUpperCase() + text.slice(1);
}

function clock(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

// Judging.

async function vote(choice) {
  if (busy || !now?.pair || document.body.dataset.ready !== now.pair.uuid) return;
  if (choice !== "skip" && missing().some((seconds) => seconds > 0)) {
    say(waitText(missing()));
    return;
  }
  const body = {
    uuid: newId(),
    pair: now.pair.uuid,
    annotator,
    choice,
    shown: shownAt / 1000,
    decided: Date.now() / 1000,
    listening: { heard: { left: rounded(listened("left")), right: rounded(listened("right")) }, events },
    note: plain($("note").value),
  };
  player.stop();
  await act("judge", body, `Saved: ${SAID[choice]}`);
}

async function change(action) {
  if (busy || !now || button(action).getAttribute("aria-disabled") === "true") return;
  player.stop();
  await act(action, { uuid: newId(), annotator }, action === "undo" ? "Undone" : "Redone");
}

async function act(action, body, said) {
  busy = true;
  tick();
  try {
    const next = await send(action, body, (why) => say(`Not saved yet: ${why.replace(/\.$/, "")}. Trying again.`, true));
    busy = false;
    await show(next, said);
  } catch (error) {
    busy = false;
    if (error instanceof Refused && error.status === 403) return say(error.message, true);
    await refresh(error.message);
  }
}

async function refresh(why = "") {
  try {
    await show(await state(annotator));
    if (why) say(why, true);
  } catch (error) {
    say(error instanceof Refused ? error.message : "The server does not answer: is it still running? Reload to try.", true);
  }
}

const rounded = (seconds) => Math.round(seconds * 1000) / 1000;

// Without control characters and halves of characters, which the store would not take.
function plain(text) {
  const kept = text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, "");
  return kept.toWellFormed ? kept.toWellFormed() : kept;
}

// Beginning.

function onKey(event) {
  const typing = event.target.closest("input:not([type=checkbox]), textarea");
  if (event.key === "Escape" && typing) return typing.blur();
  if (typing || !$("keys").checked || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const key = event.key.toLowerCase();
  if (key === "m" && !$("task").hidden) {
    event.preventDefault();
    $("note").focus();
    return;
  }
  for (const [name, [own, , action]] of Object.entries(KEYS)) {
    if (own === key && !button(name).hidden) {
      event.preventDefault();
      action();
      return;
    }
  }
}

const THEMES = { "": "auto", light: "light", dark: "dark" };

function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  $("theme").textContent = `Theme: ${THEMES[theme]}`;
  keep("theme", theme);
}

function kept(name) {
  try {
    return localStorage.getItem(`descant-${name}`) ?? "";
  } catch {
    return "";
  }
}

function keep(name, value) {
  try {
    localStorage.setItem(`descant-${name}`, value);
  } catch {
    // It is asked for again after a reload.
  }
}

function ask() {
  player.clear();
  for (const id of ["task", "finished", "tools"]) $(id).hidden = true;
  $("enter").hidden = false;
  $("name").value = "";
  $("name").focus();
}

async function begin(name) {
  annotator = name;
  keep("name", name);
  const left = waiting();
  if (left?.body?.annotator === name) await act(left.action, left.body, "Saved what was not sent before");
  else await refresh();
}

$("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = plain($("name").value).trim();
  if (name) begin(name);
});
$("leave").addEventListener("click", () => {
  keep("name", "");
  say("");
  ask();
});
$("theme").addEventListener("click", () => {
  const order = Object.keys(THEMES);
  setTheme(order[(order.indexOf(document.documentElement.dataset.theme ?? "") + 1) % order.length]);
});
for (const id of ["autoplay", "keys"]) {
  $(id).checked = kept(id) ? kept(id) === "yes" : $(id).checked;
  $(id).addEventListener("change", () => keep(id, $(id).checked ? "yes" : "no"));
}
document.addEventListener("keydown", onKey);
labelButtons();
setTheme(kept("theme") in THEMES ? kept("theme") : "");
setInterval(tick, 100);
if (kept("name")) begin(kept("name"));
else ask();
