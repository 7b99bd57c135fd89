// Talking to the server.

async function problem(answer) {
  try {
    return (await answer.json()).error.message;
  } catch {
    return `the server answered ${answer.status}`;
  }
}

/** Fetch; whatever goes wrong is an error that says it to the reader. An AbortError stays one. */
async function ask(path, options) {
  const answer = await fetch(path, options).catch((error) => {
    throw error.name === "AbortError" ? error : new Error("The server does not answer.");
  });
  if (!answer.ok) throw new Error(await problem(answer));
  return answer;
}

function send(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  return ask(path, { method: "POST", headers, body: JSON.stringify(body), signal });
}

export async function get(path) {
  return (await ask(path)).json();
}

export async function post(path, body) {
  return (await send(path, body)).json();
}

/** Post, and yield each server-sent event of the answer as an object. EventSource can only get. */
export async function* postStream(path, body, signal) {
  const answer = await send(path, body, signal);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read().catch((error) => {
      throw error.name === "AbortError" ? error : new Error("The connection to the server was lost.");
    });
    if (done) return;
    const frames = (held + value).split("\n\n");
    held = frames.pop();
    for (const frame of frames) {
      if (frame.startsWith("data: ")) yield JSON.parse(frame.slice(6));
    }
  }
}
