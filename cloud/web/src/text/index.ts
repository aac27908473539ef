/** The language of the page and its texts. Chinese unless somebody chose otherwise here before. */
import { ref, watchEffect } from "vue";
import { ApiError } from "../api/client";
import { catalogue, type Language, type TextKey } from "./catalogue";

const STORED_AS = "greenhaul.language";

export const language = ref<Language>(localStorage.getItem(STORED_AS) === "en" ? "en" : "zh");

watchEffect(() => {
  document.documentElement.lang = language.value === "zh" ? "zh-CN" : "en";
  document.title = t("app.title");
});

export function switchLanguage(): void {
  language.value = language.value === "zh" ? "en" : "zh";
  localStorage.setItem(STORED_AS, language.value);
}

export function t(key: TextKey, values: Record<string, string | number> = {}): string {
  return catalogue[key][language.value].replace(/\{(\w+)\}/g, (whole, name: string) =>
    name in values ? String(values[name]) : whole,
  );
}

/** The text of `group.name`, or the name itself: a newer server may know words we do not. */
export function word(group: string, name: string): string {
  const key = `${group}.${name}`;
  return key in catalogue ? t(key as TextKey) : name;
}

export function errorText(error: unknown): string {
  if (!(error instanceof ApiError)) return t("error.other", { reason: String(error) });
  if (error.status === 0) return t("error.0");
  if (error.status === 403 && error.message === "") return t("error.403");
  return t("error.other", { reason: error.message || String(error.status) });
}

export const durationUnits = (): [string, string, string] => [
  t("unit.h"),
  t("unit.min"),
  t("unit.s"),
];
