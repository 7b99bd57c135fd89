// Talking to the server.

async function problem(answer) {
  try {
    return (await answer.json()).error.message;
  } catch {
    return `the server answered ${answer.status}`;
  }
}

export async function get(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(await problem(answer));
  return answer.json();
}

function send(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  return fetch(path, { method: "POST", headers, body: JSON.stringify(body), signal });
}

export async function post(path, body) {
  const answer = await send(path, body);
  if (!answer.ok) throw new Error(await problem(answer));
  return answer.json();
}

/** Post, and yield each server-sent event of the answer as an object. EventSource can only get. */
export async function* postStream(path, body, signal) {
  const answer = await send(path, body, signal);
  if (!answer.ok) throw new Error(await problem(answer));
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const frames = (held + value).split("\n\n");
    held = frames.pop();
    for (const frame of frames) {
      if (frame.startsWith("data: ")) yield JSON.parse(frame.slice(6));
    }
  }
}
