// Requests that lose nothing: what is sent stays in this browser until the store has it, and is sent again till then.

const WAITING = "descant-waiting";

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export function newId() {
  if (crypto.randomUUID) return crypto.randomUUID(); // not outside of https and localhost
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 15) | 64;
  bytes[8] = (bytes[8] & 63) | 128;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

async function answer(response) {
  const json = (response.headers.get("content-type") ?? "").startsWith("application/json");
  if (response.ok && json) return response.json();
  throw new Refused(response.status, json ? (await response.json()).error : await response.text());
}

export async function state(annotator) {
  return answer(await fetch(`/api/state?annotator=${encodeURIComponent(annotator)}`));
}

// Send until there is an answer; a UUID in the body makes a second time harmless. `failed(why)` hears of each failure.
export async function send(action, body, failed) {
  remember({ action, body });
  for (let wait = 500; ; wait = Math.min(2 * wait, 8000)) {
    try {
      const response = await fetch(`/api/${action}`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      });
      const result = await answer(response);
      remember(null);
      return result;
    } catch (error) {
      // Full disk, a lock, no server: to be tried again. Anything else would be refused again.
      if (error instanceof Refused && error.status < 500) {
        remember(null);
        throw error;
      }
      failed(error.message);
      await new Promise((done) => setTimeout(done, wait));
    }
  }
}

export function waiting() {
  try {
    return JSON.parse(localStorage.getItem(WAITING));
  } catch {
    return null;
  }
}

function remember(what) {
  try {
    if (what) localStorage.setItem(WAITING, JSON.stringify(what));
    else localStorage.removeItem(WAITING);
  } catch {
    // Without storage a reload in the wrong moment forgets what was not sent.
  }
}
