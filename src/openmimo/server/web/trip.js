// What of the car has a number or a time: the cabin's temperature, how far to charge, when to leave.

import { html } from "./dom.js";

const [COLDEST_C, WARMEST_C] = [16, 28];
const LIMITS = [50, 60, 70, 80, 90, 100];

export class CarControls {
  constructor(parent, act) {
    const button = (text, label, onclick) => html("button", { type: "button", "aria-label": label, title: label, onclick }, text);
    const set = (name, given) => act({ name, arguments: given });
    const warm = (step) => () => {
      const temperature = Math.min(WARMEST_C, Math.max(COLDEST_C, this.state.set_point_c + step));
      set("CarSetTemperature", { temperature });
    };
    this.degrees = html("b", {});
    this.limit = html("select", { onchange: () => set("CarSetCharge", { limit: Number(this.limit.value) }) });
    this.charging = html("button", {
      type: "button", onclick: () => set(this.state.charging ? "CarTurnOff" : "CarTurnOn", { name: "charging" }),
    });
    this.time = html("input", { type: "time", required: true, value: "08:30" });
    this.cancel = html("button", { type: "button", onclick: () => set("CarCancelTrip", {}) }, "Cancel trip");
    const leave = (event) => {
      event.preventDefault();
      set("CarLeaveAt", { time: this.time.value });
    };
    parent.replaceChildren(
      html("span", {}, "Cabin ", button("−", "Colder", warm(-1)), this.degrees, button("+", "Warmer", warm(1))),
      html("span", {}, html("label", {}, "Charge to ", this.limit), this.charging),
      html(
        "form", { onsubmit: leave },
        html("label", {}, "Leave at ", this.time),
        html("button", { type: "submit", title: "Leave at this time, with the cabin ready" }, "Set"),
        this.cancel,
      ),
    );
  }

  update(state) {
    const { limit_percent: limit, charging, plugged } = state;
    if (limit !== this.state?.limit_percent) {
      const limits = LIMITS.includes(limit) ? LIMITS : [...LIMITS, limit].sort((a, b) => a - b);
      this.limit.replaceChildren(...limits.map((percent) => html("option", { value: percent, selected: percent === limit }, `${percent}%`)));
    }
    this.state = state;
    this.degrees.textContent = `${state.set_point_c}°`;
    this.charging.textContent = charging ? "Stop charging" : "Charge";
    this.charging.hidden = !charging && !(plugged && state.battery_percent < limit);
    this.cancel.hidden = state.driving || !state.trip;
  }
}
