// The chat: sends a turn, shows what the agent does as it does it.

import { postStream } from "./api.js";
import { html, svg } from "./dom.js";

const seconds = (ms) => (ms < 950 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);

const KEPT_TURNS = 4; // of the user's; the server shows a model three at most

const say = (value) => (typeof value === "string" ? value : JSON.stringify(value));

/** What a tool answered, in as few words as say it. */
function resultText(result) {
  if (typeof result === "string") return result;
  if (typeof result.listing === "string") return result.listing;
  if (Array.isArray(result.success)) return result.success.join("\n");
  if (result.error) return result.message ? `${result.message} (${result.error})` : String(result.error);
  return JSON.stringify(result, null, 1);
}

function statsText(timings) {
  const parts = [];
  if (timings.predicted_per_second) parts.push(`${Math.round(timings.predicted_per_second)} tok/s`);
  if (timings.max_tokens_per_step > 1 && timings.steps) {
    const rate = `${timings.tokens_per_step.toFixed(1)} of ${timings.max_tokens_per_step}`;
    parts.push(timings.draft_n ? `drafts ${rate}` : "no drafts: plain was faster");
  }
  parts.push(`${timings.predicted_n} tokens`, `first after ${seconds(timings.prompt_ms)}`);
  if (timings.cache_n) parts.push(`${timings.cache_n}/${timings.cache_n + timings.prompt_n} cached`);
  return parts.join(" · ");
}

/** A tool call from the moment it is written until its result is there. */
class ToolCard {
  constructor(call) {
    this.state = html("span", { class: "state", role: "img", "aria-label": "running" });
    this.took = html("span", { class: "ms" });
    this.result = html("pre", { class: "result" });
    const given = Object.entries(call.arguments).map(([name, value]) =>
      html("span", { class: "argument" }, html("i", {}, name), say(value)),
    );
    const head = html("div", { class: "call" }, this.state, html("code", {}, call.name), ...given, this.took);
    this.node = html("div", { class: "card running" }, head, this.result);
  }

  finish(event) {
    this.node.className = `card ${event.is_error ? "error" : "ok"}`;
    this.state.setAttribute("aria-label", event.is_error ? "error" : "ok");
    this.state.replaceChildren(mark(event.is_error ? "M6 6l12 12M18 6L6 18" : "M5 13l4.5 4.5L19 7"));
    this.took.textContent = event.ms < 1 ? "<1 ms" : seconds(event.ms);
    this.result.textContent = resultText(event.result);
  }

  /** No result will come. */
  giveUp() {
    if (this.node.classList.contains("running")) this.finish({ is_error: true, ms: 0, result: "no result" });
  }
}

/** The end of a talk that is worth sending. */
function recent(turns) {
  const asked = turns.flatMap(({ role }, index) => (role === "user" ? [index] : []));
  return turns.slice(asked.at(-KEPT_TURNS) ?? 0);
}

function mark(path) {
  return svg("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("path", { d: path }));
}

/** One turn of the agent: thinking, cards, text and figures in the order in which they come. */
class AgentTurn {
  constructor() {
    this.node = html("article", { class: "turn agent busy" });
    this.cards = new Map();
    this.text = "";
    this.open = null; // what the next piece of text continues: "reasoning" or "content"
  }

  add(event) {
    if (event.type === "reasoning") this.think(event.text);
    else if (event.type === "content") this.write(event.text);
    else if (event.type === "tool_call") this.callTool(event);
    else if (event.type === "tool_result") this.cards.get(event.id)?.finish(event);
    else if (event.type === "reply") this.count(event.timings);
    else if (event.type === "done") this.conclude(event);
    else if (event.type === "error") this.fail(event.message);
    this.hasEnded ||= event.type === "done" || event.type === "error";
  }

  think(text) {
    if (this.open !== "reasoning") {
      this.thought = html("p", { class: "thought" });
      this.glance = html("span", { class: "glance" });
      const summary = html("summary", {}, html("span", { class: "label" }, "Thought"), this.glance);
      this.node.append(html("details", { class: "thinking" }, summary, this.thought));
    }
    this.open = "reasoning";
    this.thought.append(text);
    this.glance.textContent = this.thought.textContent;
  }

  write(text) {
    if (this.open !== "content") {
      this.paragraph = html("p", { class: "said" });
      this.node.append(this.paragraph);
    }
    this.open = "content";
    this.paragraph.append(text);
    this.text += text;
  }

  callTool(event) {
    const card = new ToolCard(event);
    this.cards.set(event.id, card);
    this.node.append(card.node);
    this.open = null;
  }

  count(timings) {
    this.stats ??= html("p", { class: "stats" });
    this.stats.textContent = statsText(timings);
    this.node.append(this.stats);
    this.open = null;
  }

  conclude({ reason, messages }) {
    this.messages = messages;
    this.node.classList.remove("busy");
    if (this.stats) this.node.append(this.stats);
    if (reason === "length") this.fail("The reply was cut: it grew too long.");
    if (reason === "cancelled") this.fail("The server is shutting down.");
    if (reason === "max_rounds") this.fail("Stopped: the model kept calling tools.");
  }

  /** Whether nothing came of it at all. */
  isEmpty() {
    return !this.messages && !this.text && !this.thought && !this.cards.size;
  }

  /** What the next request is to know of this turn; of one that was stopped, the text. */
  kept() {
    return this.messages ?? [{ role: "assistant", content: this.text }];
  }

  fail(message) {
    this.node.classList.remove("busy");
    for (const card of this.cards.values()) card.giveUp();
    this.node.append(html("p", { class: "problem" }, message));
  }
}

/** Gathers events so that the page is laid out once a frame, however fast tokens come; joins neighbouring texts. */
class Frames {
  constructor(paint) {
    this.paint = paint;
    this.waiting = [];
    this.frame = 0;
  }

  add(event) {
    const last = this.waiting.at(-1);
    if (last && last.type === event.type && last.text !== undefined) last.text += event.text;
    else this.waiting.push(event);
    this.frame ||= requestAnimationFrame(() => this.flush());
  }

  flush() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    const events = this.waiting;
    this.waiting = [];
    if (events.length) this.paint(events);
  }
}

/** The talk about one world: its turns, what is shown of them, and the reply that is being written. */
class Thread {
  constructor(world, { heading, placeholder, examples }, onExample) {
    const about = "A small MiMo on this machine reads the state of this world, thinks, and calls its tools. Nothing leaves this computer.";
    const buttons = examples.map((text) => html("button", { type: "button", onclick: () => onExample(text) }, text));
    this.world = world;
    this.placeholder = placeholder;
    this.welcome = html(
      "div",
      { class: "welcome", id: "welcome" },
      html("h1", {}, heading),
      html("p", {}, about),
      html("div", { class: "examples", id: "examples" }, ...buttons),
    );
    this.node = html("div", { class: "thread" }, this.welcome);
    this.turns = [];
    this.leaving = null;
  }
}

export class Chat {
  constructor(parts) {
    Object.assign(this, parts);
    this.threads = new Map();
    this.thread = null;
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.ask(this.prompt.value);
    });
    this.prompt.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        this.ask(this.prompt.value);
      }
    });
    this.prompt.addEventListener("input", () => this.fit());
    this.stop.addEventListener("click", () => this.thread?.leaving?.abort());
    document.addEventListener("keydown", (event) => event.key === "Escape" && this.thread?.leaving?.abort());
  }

  /** Go on with the talk about a world, or begin it; what another world is still answering goes on there. */
  open(world, welcome) {
    if (!this.threads.has(world)) this.threads.set(world, new Thread(world, welcome, (text) => this.ask(text)));
    this.thread = this.threads.get(world);
    this.log.replaceChildren(this.thread.node);
    this.prompt.placeholder = this.thread.placeholder;
    this.showBusy();
    if (this.thread.turns.length) this.scroll();
  }

  async ask(text) {
    const content = text.trim();
    const { thread } = this;
    if (!content || !thread || thread.leaving) return;
    thread.welcome.remove();
    this.prompt.value = "";
    this.fit();
    thread.turns.push({ role: "user", content });
    thread.node.append(html("article", { class: "turn user" }, html("p", {}, content)));
    await this.answer(thread);
  }

  async answer(thread) {
    const turn = new AgentTurn();
    thread.node.append(turn.node);
    thread.leaving = new AbortController();
    this.showBusy();
    this.scroll();
    const frames = new Frames((events) => this.paint(thread, turn, events));
    const body = { world: thread.world, messages: recent(thread.turns) };
    let problem = "";
    try {
      for await (const event of postStream("/agent", body, thread.leaving.signal)) frames.add(event);
    } catch (error) {
      problem = error.name === "AbortError" ? "Stopped." : error.message;
    }
    frames.flush();
    if (problem || !turn.hasEnded) turn.fail(problem || "The reply broke off.");
    if (turn.isEmpty()) this.takeBack(thread);
    else thread.turns.push(...turn.kept());
    thread.leaving = null;
    if (thread !== this.thread) return;
    this.scroll();
    this.showBusy();
  }

  /** Forget a request that was not answered; it stands in the box again, to be sent once more. */
  takeBack(thread) {
    const { content } = thread.turns.pop();
    if (thread !== this.thread || this.prompt.value) return;
    this.prompt.value = content;
    this.fit();
  }

  paint(thread, turn, events) {
    const isAtEnd = thread === this.thread && this.isAtEnd();
    for (const event of events) {
      turn.add(event);
      if (event.state) this.onState(thread.world, event.state);
      if (event.type === "tool_call") this.onCall(thread.world, event);
    }
    if (isAtEnd) this.scroll();
  }

  showBusy() {
    const isBusy = Boolean(this.thread.leaving);
    this.send.hidden = isBusy;
    this.stop.hidden = !isBusy;
    if (!isBusy && this.mayFocus()) this.prompt.focus({ preventScroll: true });
  }

  /** Not where that opens a keyboard on the screen, nor while something beside the chat is used. */
  mayFocus() {
    const { activeElement: used, body } = document;
    return matchMedia("(hover: hover)").matches && (!used || used === body || this.form.contains(used));
  }

  isAtEnd() {
    return this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 60;
  }

  scroll() {
    this.log.scrollTop = this.log.scrollHeight;
  }

  fit() {
    this.prompt.style.height = "auto";
    this.prompt.style.height = `${Math.min(this.prompt.scrollHeight, 160)}px`;
  }
}
