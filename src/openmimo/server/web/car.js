// The car from above with its parts, the map with where it is, and the battery.

import { pressable, svg } from "./dom.js";
import { Mark } from "./mark.js";
import { CarControls } from "./trip.js";

const SEAT_LEVELS = 3;
const STOP = " charger"; // how the names of charging stops end
const NEAR_KM = 8;

const call = (name, given) => ({ name, arguments: given });

const turn = (name, isOn) => call(isOn ? "CarTurnOff" : "CarTurnOn", { name });

/** Everything with a mark, in the order in which the state lists it. */
function thingsOf(state) {
  const stateOf = new Map(state.rows.map((row) => [row.name, row.state]));
  const list = (group, make) => Object.entries(group).map(([name, value]) => ({ name, state: stateOf.get(name), ...make(name, value) }));
  return [
    ...list(state.windows, (name, position) => ({
      kind: "cover", position, isActive: position > 0, value: position ? `${position}%` : "",
      call: call("CarSetWindow", { name, position: position ? 0 : 100 }),
    })),
    ...list(state.seats, (name, level) => ({
      kind: "seat", isActive: level > 0, value: level || "",
      call: call("CarSetSeat", { name, level: (level + 1) % (SEAT_LEVELS + 1) }),
    })),
    ...list(state.switches, (name, isOn) => ({
      kind: name.includes("light") ? "light" : "climate", isActive: isOn, value: "", call: turn(name, isOn),
    })),
    {
      name: "climate", kind: "fan", state: state.climate, isActive: state.climate_on,
      value: state.climate_on ? `${state.set_point_c}°` : "", call: turn("climate", state.climate_on),
    },
    {
      name: "doors", kind: "lock", state: stateOf.get("doors"), locked: state.doors_locked, isActive: !state.doors_locked, value: "",
      // Whoever clicks has made up their mind; only the agent has to ask.
      call: state.doors_locked ? call("CarUnlock", { name: "doors", confirmed: true }) : call("CarLock", { name: "doors" }),
    },
    {
      name: "trunk", kind: "trunk", state: stateOf.get("trunk"), isActive: state.trunk_open, value: "",
      call: state.trunk_open ? call("CarLock", { name: "trunk" }) : call("CarUnlock", { name: "trunk", confirmed: true }),
    },
  ];
}

/** Where a part sits, read off its name; the nose is at the top. */
function placeOf(name, index) {
  const isLeft = /left|driver/.test(name);
  const isRear = /rear|back/.test(name);
  const fixed = { doors: [2, 8.6], climate: [3, 2.3], trunk: [3, 10.6] }[name];
  if (fixed) return { x: fixed[0], y: fixed[1] };
  if (/roof/.test(name)) return { x: 3, y: 7.4 };
  if (/window/.test(name)) return { x: isLeft ? 0.6 : 5.4, y: isRear ? 7.4 : 4.8 };
  if (/seat/.test(name)) return { x: isLeft ? 1.75 : 4.25, y: isRear ? 7 : 6 };
  if (/front/.test(name)) return { x: 0.9, y: 1.7 };
  return isRear ? { x: 0.9, y: 10 } : { x: 4, y: 8.6 + 0.1 * (index % 2) };
}

function body() {
  const shape = "M1.7 1.6Q3 .5 4.3 1.6Q5.3 2 5.3 3.6V9.7Q5.3 11.3 4.3 11.5H1.7Q.7 11.3 .7 9.7V3.6Q.7 2 1.7 1.6z";
  return [
    svg("path", { class: "car-body", d: shape }),
    svg("path", { class: "car-glass", d: "M1.2 3.6Q3 2.9 4.8 3.6L4.5 4.1Q3 3.5 1.5 4.1zM1.5 9.55H4.5L4.7 9.85H1.3z" }),
  ];
}

/** Where a place is drawn, home at the middle: in its direction, far ones much nearer than they are. */
function drawn({ x_km: x, y_km: y }) {
  const km = Math.hypot(x, y);
  const share = km ? Math.log1p(km / NEAR_KM) / km : 0;
  return [x * share, -y * share];
}

/** The map: places where they lie, the route, and the car on its way. */
class Roads {
  constructor(places, act) {
    const [left, top, width, height] = [8.2, 1.1, 4.4, 5.9];
    const spots = places.map(drawn);
    const [xs, ys] = [spots.map(([x]) => x), spots.map(([, y]) => y)];
    const scale = Math.min(width / (Math.max(...xs) - Math.min(...xs) || 1), height / (Math.max(...ys) - Math.min(...ys) || 1));
    const at = (values, low, size) => (value) =>
      low + size / 2 + (value - (Math.max(...values) + Math.min(...values)) / 2) * scale;
    const [toX, toY] = [at(xs, left, width), at(ys, top, height)];
    this.points = new Map(places.map(({ name }, index) => [name, [toX(spots[index][0]), toY(spots[index][1])]]));
    this.route = svg("path", { class: "route" });
    this.marker = svg("circle", { class: "car-at", r: 0.17 });
    this.labels = new Map();
    const marks = places.map(({ name }) => this.mark(name, act));
    this.node = svg("g", { class: "map" }, this.route, ...marks, this.marker);
  }

  mark(name, act) {
    const [x, y] = this.points.get(name);
    const isStop = name.endsWith(STOP);
    const go = () => act(call("CarNavigate", isStop ? { place: this.far, stop: name } : { place: name }));
    const distance = svg("tspan", { class: "distance", x: 0, dy: "1.1em" });
    this.labels.set(name, distance);
    return svg(
      "g",
      {
        class: "place", transform: `translate(${x} ${y})`, "data-name": name,
        "aria-label": isStop ? `Charge at ${name} on a long way` : `Navigate to ${name}`, ...pressable(go),
      },
      svg("circle", { class: "hit", r: 0.5 }),
      isStop ? svg("path", { class: "spot stop", d: "M.04-.3l-.14.24h.2l-.14.24" }) : svg("circle", { class: "spot", r: 0.12 }),
      svg("text", { class: "caption", y: 0.45, "text-anchor": "middle" }, name, distance),
    );
  }

  update(state) {
    const stops = [state.place, ...state.route].map((name) => this.points.get(name));
    this.route.setAttribute("d", stops.length > 1 ? `M${stops.map((point) => point.join(" ")).join("L")}` : "");
    const part = state.driving && state.leg_km ? state.driven_km / state.leg_km : 0;
    const [from, to] = [stops[0], stops[1] ?? stops[0]];
    this.marker.setAttribute("cx", from[0] + part * (to[0] - from[0]));
    this.marker.setAttribute("cy", from[1] + part * (to[1] - from[1]));
    this.far = state.place === state.far ? "home" : state.far;
    const about = { ...state.places, ...state.stops };
    for (const [name, label] of this.labels) label.textContent = about[name]?.split(", ").slice(0, 2).join(", ") ?? "";
  }
}

/** The battery: how full, where charging stops, how far it lasts. */
class Gauge {
  constructor() {
    this.level = svg("rect", { class: "level", x: 7.9, y: 9.25, height: 0.5, rx: 0.1 });
    this.limit = svg("path", { class: "limit" });
    this.text = svg("text", { class: "figure", x: 7.9, y: 9 });
    this.notes = [10.25, 10.7, 11.15].map((y) => svg("text", { class: "note", x: 7.9, y }));
    this.frame = svg("rect", { class: "gauge", x: 7.9, y: 9.25, width: 5, height: 0.5, rx: 0.1 });
    this.node = svg("g", {}, this.frame, this.level, this.limit, this.text, ...this.notes);
  }

  update(state) {
    this.level.setAttribute("width", (5 * state.battery_percent) / 100);
    this.level.classList.toggle("charging", state.charging);
    const x = 7.9 + (5 * state.limit_percent) / 100;
    this.limit.setAttribute("d", `M${x} 9.15v.7`);
    this.text.textContent = `${state.battery_percent}% · ${state.range_km} km`;
    const plug = state.charging ? `charging to ${state.limit_percent}%` : state.plugged ? "plugged in" : "";
    const by = state.route.length > 1 ? ` by ${state.route[0]}` : "";
    const where = state.driving ? `driving to ${state.route.at(-1)}${by}` : `parked at ${state.place}`;
    const paid = state.paid_ct ? `paid for charging: ${(state.paid_ct / 100).toFixed(2)} €` : "";
    const lines = [where, state.trip || plug, paid].filter(Boolean);
    this.notes.forEach((note, index) => (note.textContent = lines[index] ?? ""));
  }
}

class CarView {
  constructor(parent, { places }, state, act, controls) {
    const things = thingsOf(state);
    this.marks = new Map(things.map((thing, index) => [thing.name, new Mark({ ...thing, ...placeOf(thing.name, index) }, act)]));
    this.roads = new Roads(places, act);
    this.gauge = new Gauge();
    this.controls = new CarControls(controls, act);
    this.cabin = svg("text", { class: "degrees", x: 3, y: 4.45, "text-anchor": "middle" });
    parent.replaceChildren(
      svg(
        "svg",
        { viewBox: "-0.9 0.4 14.6 11.6", role: "group", "aria-label": "The car" },
        ...body(), this.cabin, this.roads.node, this.gauge.node, ...[...this.marks.values()].map((mark) => mark.node),
      ),
    );
    this.update(state);
  }

  update(state) {
    for (const thing of thingsOf(state)) this.marks.get(thing.name)?.update(thing);
    this.cabin.textContent = `${state.cabin_c.toFixed(1)}°`;
    this.roads.update(state);
    this.gauge.update(state);
    this.controls.update(state);
  }

  highlight({ name, arguments: given }) {
    const wanted = String(given.name ?? { CarSetTemperature: "climate", CarPrecondition: "climate" }[name] ?? "").toLowerCase();
    for (const [known, mark] of this.marks) {
      if (known === wanted || (name === "CarSetWindow" && !wanted && known.includes("window"))) mark.pulse();
    }
  }
}

/** The car, as the page shows any world. */
export const car = {
  heading: "Ask the car.",
  placeholder: "set the car to 21 degrees",
  view: (parent, drawing, state, act, controls) => new CarView(parent, drawing, state, act, controls),
  hint: ({ arguments: given }, { error }) =>
    error === "battery_low" && !given.stop ? " Choose a charging stop on the map, or charge more." : "",
  examples: ({ windows, places }) => [
    ...Object.entries(windows).filter(([, position]) => position > 0).slice(0, 1).map(([name]) => `close the ${name}`),
    "set the car to 21 degrees",
    "charge the car to 90%",
    "open the trunk",
    "set the driver seat to level 2",
    "have the car comfortable at 9:00",
    ...Object.keys(places).filter((name) => !name.includes("'")).slice(0, 1).map((name) => `set the navigation to the ${name}`),
    "how far can the car go?",
  ],
  rows: ({ rows, places, stops, far }) => [
    ...rows.map(({ name, state }) => [name, "", state]),
    ...Object.entries(places).map(([name, state]) => [name, "place", state]),
    ...Object.entries(stops).map(([name, state]) => [name, `stop to ${far}`, state]),
  ],
};
