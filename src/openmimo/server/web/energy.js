// The next hours: prices and sun as columns, below them what runs when.

import { html, pressable, pulse, svg } from "./dom.js";

const [LEFT, WIDTH, TOP, HEIGHT, ROW] = [4.7, 9.8, 0.9, 4.2, 0.72];
const LEAST_SCALE_CT = 40;
const MOST_KWH = 8;

const clock = (hour) => `${String(hour).padStart(2, "0")}:00`;

const euros = (ct) => `${(Math.round(ct) / 100 + 0).toFixed(2)} €`;

function listed(indices, hours) {
  return indices.map((index) => hours[Math.floor(index)]).filter(Boolean).map(({ hour }) => clock(hour)).join(", ");
}

/** What has a row: appliances, the car, the battery, each with the spans in which it runs. */
function thingsOf(state) {
  const hour = (index, kind) => ({ start: index, end: index + 1, kind });
  const { car, battery, hours } = state;
  return [
    ...state.appliances.map(({ name, hours: length, kw, runs, is_planned: isPlanned }) => ({
      name,
      about: `${length} h, ${kw} kW`,
      state: isPlanned ? `planned ${listed([Math.max(0, runs.at(-1)[0])], hours)}` : runs.length ? "running" : "not planned",
      spans: runs.map(([start, end]) => ({ start, end, kind: "use" })),
      call: isPlanned ? { name: "CancelAppliance", arguments: { name } } : null,
    })),
    {
      name: "car", about: `${car.percent}%`, spans: car.hours.map((index) => hour(index, "use")),
      state: car.charging ? `${car.percent}%, charging` : car.hours.length ? `${car.percent}%, planned ${listed(car.hours, hours)}` : `${car.percent}%`,
      call: car.hours.length ? { name: "EnergyChargeCar", arguments: { hours: [] } } : null,
    },
    {
      name: "battery", about: `${battery.percent}%`, state: `${battery.percent}%, reserve ${battery.reserve_percent}%`,
      spans: battery.hours.map((index, part) => hour(index, part ? "give" : "fill")),
    },
  ];
}

class Hours {
  constructor(count) {
    this.step = WIDTH / count;
    this.columns = Array.from({ length: count }, (_, index) => this.column(LEFT + index * this.step));
    this.node = svg("g", { class: "hours" }, ...this.columns.map((column) => column.node));
  }

  column(x) {
    const middle = x + this.step / 2;
    const bar = (kind, at, width) => svg("rect", { class: kind, x: at, width, rx: 0.06 });
    const text = (kind, y) => svg("text", { class: kind, x: middle, y, "text-anchor": "middle" });
    const column = {
      price: bar("price", x + 0.12, this.step * 0.5),
      sun: bar("sun", x + this.step * 0.62, this.step * 0.28),
      cost: svg("text", { class: "value", x: middle, "text-anchor": "middle" }),
      hour: text("note", TOP + HEIGHT + 0.45),
      title: svg("title"),
    };
    return { ...column, node: svg("g", {}, column.title, column.price, column.sun, column.cost, column.hour) };
  }

  update(hours) {
    const prices = hours.map(({ price_ct: price }) => price);
    const [cheapest, scale] = [Math.min(...prices), Math.max(LEAST_SCALE_CT, ...prices)];
    hours.forEach(({ hour, price_ct: price, sun_kwh: sun }, index) => {
      const column = this.columns[index];
      const rise = (node, share) => {
        const height = HEIGHT * Math.min(1, share);
        node.setAttribute("y", TOP + HEIGHT - height);
        node.setAttribute("height", height);
        return TOP + HEIGHT - height;
      };
      const tops = [rise(column.price, price / scale), rise(column.sun, sun / MOST_KWH)];
      column.cost.setAttribute("y", Math.min(...tops) - 0.12);
      column.cost.textContent = `${price} ct`;
      column.hour.textContent = clock(hour);
      column.price.classList.toggle("cheapest", price === cheapest);
      column.title.textContent = `${clock(hour)}: ${price} ct${sun ? `, sun ${sun} kWh` : ""}`;
    });
  }
}

class Row {
  constructor(thing, index, step, act) {
    this.y = TOP + HEIGHT + 0.95 + index * ROW;
    this.step = step;
    this.about = svg("tspan", { class: "soft" });
    this.spans = svg("g");
    this.title = svg("title");
    this.node = svg(
      "g",
      {
        class: "device load", "data-name": thing.name, ...pressable(() => this.call && act(this.call)),
      },
      this.title,
      svg("rect", { class: "lane", x: LEFT, y: this.y, width: WIDTH, height: ROW - 0.12, rx: 0.1 }),
      svg("text", { class: "label", x: 0, y: this.y + 0.4 }, thing.name, "\u00a0 ", this.about),
      this.spans,
    );
  }

  update(thing, count) {
    this.call = thing.call;
    this.node.setAttribute("role", thing.call ? "button" : "img");
    this.node.setAttribute("data-state", thing.state);
    this.node.setAttribute("aria-label", `${thing.name}, ${thing.state}`);
    this.title.textContent = thing.call ? `${thing.name}: ${thing.state}; click to cancel` : `${thing.name}: ${thing.state}`;
    this.about.textContent = thing.about;
    const blocks = thing.spans.map(({ start, end, kind }) => {
      const [from, to] = [Math.max(0, start), Math.min(count, end)];
      const size = { x: LEFT + from * this.step, width: Math.max(0, to - from) * this.step };
      return svg("rect", { class: `span ${kind}`, y: this.y, height: ROW - 0.12, rx: 0.1, ...size });
    });
    this.spans.replaceChildren(...blocks);
  }

  pulse() {
    pulse(this.node);
  }
}

/** What is to run at which hour, chosen by hand. */
class EnergyControls {
  constructor(parent, { appliances }, act) {
    const names = ["car", ...appliances.map(({ name }) => name)];
    this.name = html("select", { "aria-label": "What to run" }, ...names.map((name) => html("option", {}, name)));
    this.hour = html("select", { "aria-label": "Hour" });
    const plan = (event) => {
      event.preventDefault();
      act(this.call(this.name.value, Number(this.hour.value)));
    };
    parent.replaceChildren(
      html(
        "form", { onsubmit: plan },
        "Run ", this.name, " at ", this.hour, html("button", { type: "submit" }, "Plan"),
      ),
    );
  }

  call(name, hour) {
    if (name !== "car") return { name: "ScheduleAppliance", arguments: { name, start: hour } };
    const { car, hours } = this.state;
    return { name: "EnergyChargeCar", arguments: { hours: [...new Set([...car.hours.map((index) => hours[index].hour), hour])] } };
  }

  update(state) {
    if (state.hours[0].hour !== this.state?.hours[0].hour) {
      const chosen = this.hour.value;
      this.hour.replaceChildren(
        ...state.hours.map(({ hour, price_ct: price }) => html("option", { value: hour, selected: String(hour) === chosen }, `${clock(hour)}, ${price} ct`)),
      );
    }
    this.state = state;
  }
}

class EnergyView {
  constructor(parent, state, act, controls) {
    const things = thingsOf(state);
    this.controls = new EnergyControls(controls, state, act);
    this.hours = new Hours(state.hours.length);
    this.rows = new Map(things.map((thing, index) => [thing.name, new Row(thing, index, this.hours.step, act)]));
    this.bottom = TOP + HEIGHT + 0.95 + things.length * ROW;
    this.now = svg("path", { class: "now" });
    this.power = svg("text", { class: "figure", x: 0, y: this.bottom + 0.55 });
    this.total = svg("text", { class: "note", x: 0, y: this.bottom + 1.05 });
    parent.replaceChildren(
      svg(
        "svg",
        { viewBox: `-0.3 0 ${LEFT + WIDTH + 0.6} ${this.bottom + 1.4}`, role: "group", "aria-label": "The next hours" },
        this.hours.node, ...[...this.rows.values()].map((row) => row.node), this.now, this.power, this.total,
      ),
    );
    this.update(state);
  }

  update(state) {
    this.hours.update(state.hours);
    this.controls.update(state);
    for (const thing of thingsOf(state)) this.rows.get(thing.name)?.update(thing, state.hours.length);
    const x = LEFT + ((state.clock_s % 3600) / 3600) * this.hours.step;
    this.now.setAttribute("d", `M${x} ${TOP}V${this.bottom - 0.12}`);
    this.power.textContent = `sun ${state.sun_kw.toFixed(1)} kW · use ${state.use_kw.toFixed(1)} kW`;
    const { bought, sold, cost_ct: cost } = state.meter;
    this.total.textContent = `so far bought ${bought.toFixed(1)} kWh, sold ${sold.toFixed(1)} kWh, cost ${euros(cost)}`;
  }

  highlight({ name, arguments: given }) {
    const fixed = { EnergyChargeCar: "car", EnergySetBattery: "battery", EnergySetReserve: "battery" };
    this.rows.get(fixed[name] ?? String(given.name ?? "").toLowerCase())?.pulse();
  }
}

/** The energy of a home, as the page shows any world. */
export const energy = {
  heading: "Plan the day's energy.",
  placeholder: "the dishwasher must be done by 13:00",
  view: (parent, _, state, act, controls) => new EnergyView(parent, state, act, controls),
  examples: ({ hours, appliances }) => {
    const late = clock(hours.at(-2).hour);
    const [first, second] = appliances;
    return [
      `the ${first.name} must be done by ${late}`,
      ...(second ? [`start the ${second.name} at ${clock(hours[2].hour)}`] : []),
      `charge the car to 60% by ${late}, as cheap as possible`,
      "when is power cheapest?",
      `how long does the ${first.name} run?`,
    ];
  },
  rows: (state) => thingsOf(state).map(({ name, about, state: now }) => [name, about, now]),
};
