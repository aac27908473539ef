/** What the screen is like: width and colour scheme, live. */
import { ref, type Ref } from "vue";

function matches(query: string): Ref<boolean> {
  const media = window.matchMedia(query);
  const answer = ref(media.matches);
  media.addEventListener("change", (event) => {
    answer.value = event.matches;
  });
  return answer;
}

export const isDark = matches("(prefers-color-scheme: dark)");
/** Room for a violations column beside the map. */
export const isWide = matches("(min-width: 1180px)");
/** Map above, lists below. */
export const isPhone = matches("(max-width: 760px)");
