// A round mark with an icon and a caption: something with a state that a click may change.

import { pressable, pulse, svg } from "./dom.js";
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
        ...pressable(() => this.call && act(this.call)),
      },
      this.title,
      svg("circle", { class: "ring", r: RADIUS }),
      svg("circle", { class: "badge", r: RADIUS }),
      this.icon.node,
      svg("text", at, svg("tspan", { class: "name" }, `${thing.name}\u00a0`), this.value),
    );
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
    pulse(this.node);
  }
}
