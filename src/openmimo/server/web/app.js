// The page: a world on one side, a chat with the agent that acts in it on the other.

import { get, post } from "./api.js";
import { car } from "./car.js";
import { Chat } from "./chat.js";
import { html } from "./dom.js";
import { energy } from "./energy.js";
import { home } from "./plan.js";

const WORLDS = { home, car, energy };
const OUTSIDE = "☁";
const NOTICE_MS = 8000;
const AGAIN_MS = 3000;

const byId = (id) => document.getElementById(id);

let chat;
let shown = { name: "", view: null, events: null, clockS: 0, rows: "" };
let fading = 0;

function showState(name, state) {
  // What was asked for first may come last.
  if (name !== shown.name || !shown.view || state.clock_s < shown.clockS) return;
  shown.clockS = state.clock_s;
  shown.view.update(state);
  byId("clock").textContent = state.clock;
  const cloud = Math.round(100 * state.cloud);
  byId("outside").textContent = `${OUTSIDE} ${cloud}% · ${state.outside_c.toFixed(1)} °C`;
  byId("outside").title = `outside: clouds cover ${cloud}% of the sky`;
  showRows(WORLDS[name].rows(state));
}

/** Everything as text; left alone while it is the same, so that it can be selected. */
function showRows(rows) {
  const text = JSON.stringify(rows);
  if (text === shown.rows) return;
  shown.rows = text;
  const items = rows.map(([what, where, now]) =>
    html("li", {}, html("span", {}, what), html("span", { class: "area" }, where), html("b", {}, now)),
  );
  byId("device-list").replaceChildren(...items);
}

/** Say for a while why something that was done by hand did not work; "" takes it away. */
function notify(text) {
  clearTimeout(fading);
  byId("notice").textContent = text && text[0].toUpperCase() + text.slice(1);
  if (text) fading = setTimeout(() => notify(""), NOTICE_MS);
}

/** Change a world by hand; whatever goes wrong is said. */
async function change(name, path, body) {
  notify("");
  try {
    const { result, state } = await post(`/worlds/${name}/${path}`, body);
    showState(name, state);
    if (result?.error && name === shown.name) notify(`${result.message}.${WORLDS[name].hint?.(body, result) ?? ""}`);
  } catch (error) {
    notify(error.message);
  }
}

function act(name, call) {
  shown.view?.highlight(call);
  return change(name, "call", call);
}

function watch(name) {
  const events = new EventSource(`/worlds/${name}/events`);
  events.onopen = () => {
    document.body.classList.remove("offline");
    shown.clockS = 0; // a server that was started anew begins its day anew
  };
  events.onerror = () => {
    document.body.classList.add("offline");
    // It connects again by itself, but not after an answer that is no stream, as of a proxy.
    if (events.readyState === EventSource.CLOSED) setTimeout(() => events === shown.events && (shown.events = watch(name)), AGAIN_MS);
  };
  events.onmessage = (event) => showState(name, JSON.parse(event.data));
  return events;
}

/** Show a world and its chat. */
async function open(name) {
  shown.events?.close();
  shown = { name, view: null, events: null, clockS: 0, rows: "" };
  notify("");
  byId("controls").replaceChildren();
  for (const link of byId("worlds").children) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `openmimo · ${name}`;
  byId("plan").setAttribute("aria-busy", "true");
  const { drawing, state } = await get(`/worlds/${name}`);
  if (shown.name !== name) return; // somebody was quicker
  const world = WORLDS[name];
  shown.view = world.view(byId("plan"), drawing, state, (call) => act(name, call), byId("controls"));
  byId("plan").removeAttribute("aria-busy");
  shown.events = watch(name);
  showState(name, state);
  chat.open(name, { heading: world.heading, placeholder: world.placeholder, examples: world.examples(state) });
}

/** Do something that the page is nothing without; where it fails, offer to try again. */
async function attempt(work) {
  try {
    await work();
  } catch (error) {
    const again = html("button", { type: "button", onclick: () => attempt(work) }, "Try again");
    byId("plan").replaceChildren(html("p", { class: "problem" }, error.message, " ", again));
  }
}

async function start() {
  const [{ worlds }, models] = await Promise.all([get("/worlds"), get("/v1/models")]);
  const known = worlds.filter((name) => name in WORLDS);
  const wanted = () => (known.includes(location.hash.slice(1)) ? location.hash.slice(1) : known[0]);
  byId("model").textContent = models.data[0].id;
  byId("worlds").replaceChildren(...known.map((name) => html("a", { href: `#${name}` }, name)));
  byId("devices").open = matchMedia("(min-width: 60rem) and (min-height: 62rem)").matches;
  for (const button of document.querySelectorAll("[data-minutes]")) {
    button.addEventListener("click", () => change(shown.name, "pass", { minutes: Number(button.dataset.minutes) }));
  }
  chat = new Chat({
    log: byId("log"),
    form: byId("composer"),
    prompt: byId("prompt"),
    send: byId("send"),
    stop: byId("stop"),
    onState: showState,
    onCall: (name, call) => name === shown.name && shown.view?.highlight(call),
  });
  addEventListener("hashchange", () => attempt(() => open(wanted())));
  await attempt(() => open(wanted()));
}

attempt(start);
