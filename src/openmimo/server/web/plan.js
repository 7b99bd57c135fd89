// The floor plan: rooms with their temperatures, devices as icons whose look is their state.

import { pressable, pulse, svg } from "./dom.js";
import { Icon, kindOf } from "./icons.js";

const BADGE_M = 0.46; // radius of a device's badge
const MARGIN_M = 0.75;
const GLOW_M = 3.4;

const COLORS = {
  white: "#ffdf9e", red: "#ff5b4d", green: "#5fd068", blue: "#5b8cff", yellow: "#ffd43b", purple: "#b07cff",
  orange: "#ff9a3d", pink: "#ff8cc0",
};

/** Whether a device is doing something, in the sense of its domain. */
export function isActive(device) {
  if (device.domain === "cover") return device.position > 0;
  if (device.domain === "lock") return !device.locked;
  if (device.mode) return device.mode !== "off";
  if (device.domain === "vacuum") return device.doing !== "docked";
  if (device.domain === "appliance") return device.running;
  if (device.domain === "binary_sensor") return /open|detected/.test(device.state);
  return Boolean(device.on);
}

/** The tool call that a click on a device makes, or null for devices that only measure. */
function toggleCall(device) {
  if (device.domain.endsWith("sensor")) return null;
  if (device.domain === "vacuum") {
    return { name: device.doing === "cleaning" ? "HassVacuumReturnToBase" : "HassVacuumStart", arguments: {} };
  }
  // Turning a lock on locks it, as in Home Assistant.
  const isOn = device.domain === "lock" ? device.locked : isActive(device);
  return { name: isOn ? "HassTurnOff" : "HassTurnOn", arguments: { name: device.name } };
}

/** Things to say that fit the home as it is. */
function examplesFor(state) {
  const find = (domain, fits = () => true) => state.devices.find((device) => device.domain === domain && fits(device));
  const ask = (device, text) => (device ? [text(device)] : []);
  return [
    ...ask(find("light", (device) => device.on), ({ name }) => `turn off the ${name}`),
    ...ask(find("light", (device) => !device.on), ({ name }) => `set the ${name} to 60 percent`),
    ...ask(find("cover"), ({ name, position }) => `${position > 0 ? "close" : "open"} the ${name}`),
    ...ask(find("climate"), ({ name }) => `set the ${name} to 21 degrees`),
    ...ask(find("lock"), ({ name }) => `is the ${name} locked?`),
    ...ask(find("fan", (device) => !device.on), ({ name }) => `turn on the ${name}`),
  ];
}

function shortValue(device) {
  if (device.domain === "light") return device.on ? `${device.brightness}%` : "";
  if (device.domain === "cover") return `${device.position}%`;
  if (device.mode) return device.mode === "off" ? "off" : `${device.set_point_c}°`;
  if (device.domain === "vacuum") return device.doing === "docked" && device.battery === 100 ? "" : `${device.battery}%`;
  return device.domain === "sensor" ? device.state : "";
}

const overlaps = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;

const box = (left, top, width, height) => ({ left, top, right: left + width, bottom: top + height });

/** Roughly how wide a text is drawn; only used to keep texts apart. */
const widthOf = (text, size) => text.length * size * 0.54;

/** Where a room's name goes: the first of its corners that no device covers. */
function nameCorner({ x_m: x, y_m: y, width_m: width, height_m: height, area }, taken) {
  const size = [widthOf(area, 0.36), 0.9];
  const [left, right] = [x + 0.3, x + width - 0.3 - size[0]];
  const [top, lower, bottom] = [y + 0.22, y + 0.8, y + height - 1.12];
  const corners = [[left, top], [left, lower], [left, bottom], [right, bottom], [right, top], [right, lower]];
  const isFree = ([x, y]) => !taken.some((other) => overlaps(box(x, y, ...size), other));
  return corners.find(isFree) ?? corners[0];
}

class Room {
  constructor(place, index, devices) {
    const { x_m: x, y_m: y, width_m: width, height_m: height } = place;
    const walls = { x, y, width, height };
    this.place = place;
    this.glows = svg("g", { "clip-path": `url(#room-${index})` });
    const [left, top] = nameCorner(place, devices.map((at) => box(at.x_m - BADGE_M, at.y_m - BADGE_M, 2 * BADGE_M, 2 * BADGE_M)));
    this.degrees = svg("tspan", { class: "degrees", x: left, dy: "1.25em" });
    this.floor = svg(
      "g",
      {},
      svg("clipPath", { id: `room-${index}` }, svg("rect", walls)),
      svg("rect", { class: "floor", ...walls }),
      this.glows,
      svg("text", { class: "room-name", x: left, y: top + 0.36 }, place.area, this.degrees),
    );
    this.walls = svg("rect", { class: "wall", ...walls });
  }
}

/** Where a device's caption goes: below or above the badge, beside one on a side wall, outside for one on an outer wall. */
function captionPlace({ x_m: x, y_m: y }, room, text, planHeight) {
  const half = widthOf(text, 0.27) / 2 + 0.08;
  const { x_m: left, y_m: top, width_m: width, height_m: height } = room;
  const [above, below, beside] = [-BADGE_M - 0.14, BADGE_M + 0.29, BADGE_M + 0.12];
  if (top === 0 && y < BADGE_M) return { class: "caption outside", y: above, "text-anchor": "middle" };
  if (planHeight - y < BADGE_M) return { class: "caption outside", y: below, "text-anchor": "middle" };
  if (left + width - x < BADGE_M) return { class: "caption", x: -beside, y: 0.1, "text-anchor": "end" };
  if (x - left < BADGE_M) return { class: "caption", x: beside, y: 0.1, "text-anchor": "start" };
  const at = { class: "caption", y: y + below + 0.12 > top + height ? above : below };
  if (x - half < left) return { ...at, x: -Math.min(BADGE_M, x - left - 0.12), "text-anchor": "start" };
  if (x + half > left + width) return { ...at, x: Math.min(BADGE_M, left + width - x - 0.12), "text-anchor": "end" };
  return { ...at, "text-anchor": "middle" };
}

class Device {
  constructor(place, index, device, room, planHeight, onToggle) {
    const { x_m: x, y_m: y } = place;
    this.device = device;
    this.icon = new Icon(kindOf(device));
    this.name = svg("tspan", { class: "name" }, `${device.name}\u00a0`);
    this.value = svg("tspan", { class: "value" });
    this.title = svg("title");
    const caption = captionPlace(place, room.place, `${device.name} 100%`, planHeight);
    this.node = svg(
      "g",
      {
        class: `device ${device.domain}`,
        transform: `translate(${x} ${y})`,
        "data-name": device.name,
        ...(toggleCall(device) ? pressable(() => onToggle(this.device)) : { tabindex: 0, role: "img" }),
      },
      this.title,
      svg("circle", { class: "ring", r: BADGE_M }),
      svg("circle", { class: "badge", r: BADGE_M }),
      this.icon.node,
      svg("text", caption, this.name, this.value),
    );
    if (device.domain === "light") this.addGlow(index, x, y, room);
  }

  addGlow(index, x, y, room) {
    this.stops = [svg("stop", { offset: "0" }), svg("stop", { offset: "1", "stop-opacity": "0" })];
    room.glows.append(
      svg("radialGradient", { id: `glow-${index}` }, ...this.stops),
      (this.glow = svg("circle", { class: "glow", cx: x, cy: y, r: GLOW_M, fill: `url(#glow-${index})` })),
    );
  }

  update(device) {
    this.device = device;
    const isOn = isActive(device);
    this.node.classList.toggle("active", isOn);
    this.node.setAttribute("data-state", device.state);
    this.node.setAttribute("aria-label", `${device.name}, ${device.state}`);
    if (this.node.getAttribute("role") === "button") this.node.setAttribute("aria-pressed", String(isOn));
    this.title.textContent = `${device.name} (${device.area}): ${device.state}`;
    this.value.textContent = shortValue(device);
    this.icon.update(device);
    const color = COLORS[device.color] ?? COLORS.white;
    this.node.style.setProperty("--light", color);
    if (this.glow) {
      this.stops.forEach((stop) => stop.setAttribute("stop-color", color));
      this.glow.style.opacity = device.on ? 0.25 + (0.65 * device.brightness) / 100 : 0;
    }
  }

  /** Whether a call means this device. */
  isMeant({ name: tool, arguments: { name, area, domain } }) {
    const is = (given, ...values) => given === undefined || values.includes(String(given).toLowerCase());
    const { device } = this;
    if (tool.startsWith("HassVacuum")) return device.domain === "vacuum";
    return (name ?? area ?? domain) !== undefined &&
      is(name, device.name, device.alias) && is(area, device.area) && is(domain, device.domain);
  }

  pulse() {
    pulse(this.node);
  }
}

class FloorPlan {
  constructor(parent, plan, state, onToggle) {
    const size = [plan.width_m + 2 * MARGIN_M, plan.height_m + 2 * MARGIN_M];
    const known = new Map(state.devices.map((device) => [device.name, device]));
    const inRoom = (area) => plan.devices.filter((place) => known.get(place.name).area === area);
    this.rooms = new Map(plan.rooms.map((place, index) => [place.area, new Room(place, index, inRoom(place.area))]));
    this.devices = new Map(
      plan.devices.map((place, index) => {
        const device = known.get(place.name);
        return [place.name, new Device(place, index, device, this.rooms.get(device.area), plan.height_m, onToggle)];
      }),
    );
    const rooms = [...this.rooms.values()];
    parent.replaceChildren(
      svg(
        "svg",
        { viewBox: `${-MARGIN_M} ${-MARGIN_M} ${size.join(" ")}`, role: "group", "aria-label": "Floor plan" },
        ...rooms.map((room) => room.floor),
        ...rooms.map((room) => room.walls),
        svg("rect", { class: "shell", width: plan.width_m, height: plan.height_m }),
        ...[...this.devices.values()].map((device) => device.node),
      ),
    );
    this.update(state);
  }

  update(state) {
    for (const [area, temperature] of Object.entries(state.rooms)) {
      const room = this.rooms.get(area);
      if (room) room.degrees.textContent = `${temperature.toFixed(1)}°`;
    }
    for (const device of state.devices) this.devices.get(device.name)?.update(device);
  }

  /** Draw the eye to what a tool call is about. */
  highlight(call) {
    for (const device of this.devices.values()) if (device.isMeant(call)) device.pulse();
  }
}

/** The home, as the page shows any world. */
export const home = {
  heading: "Ask the house.",
  placeholder: "turn off the kitchen light",
  view: (parent, drawing, state, act) =>
    new FloorPlan(parent, drawing, state, (device) => act(toggleCall(device))),
  examples: examplesFor,
  rows: ({ devices }) => devices.map(({ name, area, state }) => [name, area, state]),
};
