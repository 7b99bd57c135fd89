// A round mark with an icon and a caption: something with a state that a click may change.

import { svg } from "./dom.js";
import { Icon } from "./icons.js";

const RADIUS = 0.46;

export class Mark {
  /** thing: { name, kind, x, y }. */
  constructor(thing, act) {
    this.icon = new Icon(thing.kind);
    this.value = svg("tspan", { class: "value" });
    this.title = svg("title");
    const at = { class: "caption", y: RADIUS + 0.29, "text-anchor": "middle" };
    this.node = svg(
      "g",
      {
        class: `device ${thing.kind}`,
        transform: `translate(${thing.x} ${thing.y})`,
        "data-name": thing.name,
        tabindex: 0,
        role: "button",
        onclick: () => this.call && act(this.call),
        onkeydown: (event) => this.onKey(event, act),
      },
      this.title,
      svg("circle", { class: "ring", r: RADIUS }),
      svg("circle", { class: "badge", r: RADIUS }),
      this.icon.node,
      svg("text", at, svg("tspan", { class: "name" }, `${thing.name}\u00a0`), this.value),
    );
  }

  onKey(event, act) {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    if (this.call) act(this.call);
  }

  /** thing: { name, state, value, isActive, call, and what its icon draws }. */
  update(thing) {
    this.call = thing.call;
    this.node.classList.toggle("active", thing.isActive);
    this.node.setAttribute("data-state", thing.state);
    this.node.setAttribute("aria-label", `${thing.name}, ${thing.state}`);
    this.node.setAttribute("aria-pressed", String(thing.isActive));
    this.title.textContent = `${thing.name}: ${thing.state}`;
    this.value.textContent = thing.value ?? "";
    this.icon.update(thing);
  }

  pulse() {
    this.node.classList.remove("touched");
    this.node.getBoundingClientRect(); // restarts the animation
    this.node.classList.add("touched");
  }
}
