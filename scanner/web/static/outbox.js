// Verdicts on their way: kept in the browser until the server says that they are on disk, and sent again until then.
import { post, say } from "./page.js";

const KEY = `outbox ${location.pathname.split("/")[2]}`;
const read = () => JSON.parse(localStorage.getItem(KEY) || "[]");
const write = (letters) => localStorage.setItem(KEY, JSON.stringify(letters));

export const uuid = () => ([1e7] + -1e3 + -4e3 + -8e3 + -1e11).replace(/[018]/g, (c) =>
  (c ^ (crypto.getRandomValues(new Uint8Array(1))[0] & (15 >> (c / 4)))).toString(16));

let sending = null, isTold = false;

// Resolves when everything that was put in has arrived. What the server refuses for good is told and dropped.
export function flush() {
  sending ??= (async () => {
    for (let letters = read(); letters.length; letters = read()) {
      try {
        await post(letters[0].address, letters[0].body);
      } catch (error) {
        if (error.status >= 400 && error.status < 500 && ![401, 403, 408, 429].includes(error.status)) {
          say(`Not saved: ${error.message}`);
        } else {
          say("The server does not answer. Your verdicts are kept here and sent again.");
          isTold = true;
          await new Promise((resolve) => setTimeout(resolve, 1500));
          continue;
        }
      }
      // Another window may have put in more meanwhile: only this letter is taken out.
      write(read().filter((one) => one.body.batch !== letters[0].body.batch));
    }
    if (isTold) say("");
    isTold = false;
    document.body.dataset.unsent = "";
  })().finally(() => { sending = null; });
  return sending;
}

export function send(address, body) {
  write([...read(), { address, body: { batch: uuid(), ...body } }]);
  document.body.dataset.unsent = read().length;
  return flush();
}

flush();
