// Icons of devices and parts, drawn on a grid of 24 by 24 and centred on their place.

import { svg } from "./dom.js";

const SIZE_M = 0.56;

const line = (d, extra = {}) => svg("path", { d, ...extra });

const BULB = "M12 3a6 6 0 0 0-3.8 10.7c.8.7 1.3 1.4 1.3 2.3h5c0-.9.5-1.6 1.3-2.3A6 6 0 0 0 12 3z";

/** Each kind of device: its parts, and what a change of state does to them. */
const KINDS = {
  light: () => ({ parts: [line(BULB, { class: "fills" }), line("M9.8 18.6h4.4M10.7 21h2.6")] }),

  plug: () => ({ parts: [line("M6.5 8.5h11V12a5.5 5.5 0 0 1-11 0z", { class: "fills" }), line("M9 3v5M15 3v5M12 17.5V21")] }),

  cup: () => ({
    parts: [
      line("M5 9.5h11V15a4 4 0 0 1-4 4H9a4 4 0 0 1-4-4z", { class: "fills" }),
      line("M16 11h1.4a2.4 2.4 0 0 1 0 4.8H16"),
      line("M8.5 3c-1 1.3 1 2.3 0 3.6M12.5 3c-1 1.3 1 2.3 0 3.6", { class: "when-active" }),
    ],
  }),

  fan: () => {
    const blade = "M12 12C9 10.5 8.3 5.8 11 3.8c2.9.4 3.3 5 1 8.2z";
    const blades = [0, 120, 240].map((angle) => line(blade, { class: "fills", transform: `rotate(${angle} 12 12)` }));
    return { parts: [svg("g", { class: "spins" }, ...blades), svg("circle", { class: "hub", cx: 12, cy: 12, r: 1.5 })] };
  },

  screen: () => ({
    parts: [svg("rect", { class: "fills", x: 3, y: 5, width: 18, height: 11.5, rx: 1.5 }), line("M8 20h8")],
  }),

  cover: () => {
    const sheet = svg("rect", { class: "sheet", x: 4.5, y: 4, width: 15 });
    const slats = svg("path", { class: "slats" });
    return {
      parts: [line("M4.5 4v16h15V4M12 4v16", { class: "pane" }), sheet, slats, line("M3 4h18")],
      update({ position }) {
        const bottom = 4 + 16 * (1 - position / 100);
        sheet.setAttribute("height", bottom - 4);
        const rows = [7.2, 10.4, 13.6, 16.8, 20].filter((y) => y <= bottom + 0.01);
        slats.setAttribute("d", rows.map((y) => `M4.5 ${y}h15`).join(""));
      },
    };
  },

  lock: () => {
    const shackle = line("");
    return {
      parts: [shackle, svg("rect", { class: "fills", x: 5, y: 11, width: 14, height: 9.5, rx: 2 }), line("M12 14.5v2.5")],
      update({ locked }) {
        shackle.setAttribute("d", locked ? "M8 11V8a4 4 0 0 1 8 0v3" : "M8 11V7.2a4 4 0 0 1 7.7-1.5");
      },
    };
  },

  climate: () => ({
    parts: [
      line("M6 10v9M10 10v9M14 10v9M18 10v9M4.5 12h15M4.5 17h15"),
      line("M8 2.8c-1.3 1.5 1.3 2.7 0 4.2M12 2.8c-1.3 1.5 1.3 2.7 0 4.2M16 2.8c-1.3 1.5 1.3 2.7 0 4.2", {
        class: "when-active",
      }),
    ],
  }),

  drop: () => ({ parts: [line("M12 3.5c3.3 4 5.5 6.8 5.5 10a5.5 5.5 0 0 1-11 0c0-3.2 2.2-6 5.5-10z"), line("M9.5 14a2.6 2.6 0 0 0 2.5 2.6")] }),

  thermometer: () => ({ parts: [line("M12 3a2 2 0 0 1 2 2v8.5a4 4 0 1 1-4 0V5a2 2 0 0 1 2-2zM12 9v7")] }),

  window: () => {
    const sash = line("");
    return {
      parts: [line("M5 4h14v16H5z"), sash],
      update({ state }) {
        sash.setAttribute("d", state === "open" ? "M5 4l8 3v16l-8-3" : "M12 4v16M5 12h14");
      },
    };
  },

  seat: () => ({
    parts: [
      line("M9 4h6l1 9H8zM6.5 13h11v4h-11z", { class: "fills" }),
      line("M8 17v3.5M16 17v3.5"),
    ],
  }),

  trunk: () => {
    const lid = line("");
    return {
      parts: [line("M4 12h16v7H4z", { class: "fills" }), lid],
      update({ state }) {
        lid.setAttribute("d", state === "open" ? "M4 12L7 3.5h12" : "M4 12l2.5-4h11L20 12");
      },
    };
  },

  vacuum: () => ({
    parts: [
      svg("circle", { class: "fills", cx: 12, cy: 12, r: 8.5 }),
      svg("circle", { class: "hub", cx: 12, cy: 13.5, r: 2.4 }),
      line("M6.6 8.6a6.5 6.5 0 0 1 10.8 0"),
    ],
  }),

  motion: () => ({
    parts: [
      svg("circle", { class: "fills", cx: 12, cy: 12, r: 2.5 }),
      line("M7.5 7.5a6.4 6.4 0 0 0 0 9M16.5 7.5a6.4 6.4 0 0 1 0 9", { class: "when-active" }),
    ],
  }),
};

export function kindOf({ domain, name, state }) {
  if (domain === "switch") return /coffee|kettle|toaster/.test(name) ? "cup" : "plug";
  if (domain === "sensor") return state.endsWith("%") ? "drop" : "thermometer";
  if (domain === "binary_sensor") return /detected|clear/.test(state) ? "motion" : "window";
  if (domain === "media_player") return "screen";
  return domain in KINDS ? domain : "plug";
}

export class Icon {
  constructor(kind) {
    const { parts, update } = KINDS[kind]();
    const scale = SIZE_M / 24;
    this.node = svg("g", { class: "icon", transform: `scale(${scale}) translate(-12 -12)` }, ...parts);
    this.update = update ?? (() => {});
  }
}
