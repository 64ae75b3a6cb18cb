// The overview of a project: a round from the grades so far.
import { post, say } from "./page.js";

const form = document.getElementById("rerank");
form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const values = new FormData(form);
  say("Ranking …");
  try {
    const made = await post("/hunt/rerank", { count: Number(values.get("count")), uncertain: Number(values.get("uncertain")) });
    location = made.at;
  } catch (error) {
    say(error.message);
  }
});
