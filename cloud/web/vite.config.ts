import { existsSync, readFileSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import vue from "@vitejs/plugin-vue";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

const here = fileURLToPath(new URL(".", import.meta.url));

interface LockedPackage {
  version?: string;
  license?: string;
  dev?: boolean;
}

/**
 * Writes the licence texts of everything that ends up in the page beside it: MIT, BSD and ISC ask
 * for their notice in every copy, and the minifier drops comments. What is bundled = what the lock
 * does not mark as a development dependency; its licence must be one of the permissive ones.
 */
function licences(): Plugin {
  const permissive = /^\(?(MIT|ISC|0BSD|BSD-[23]-Clause|Apache-2\.0)\b/;
  return {
    name: "greenhaul-licences",
    apply: "build",
    generateBundle() {
      const lock = JSON.parse(readFileSync(`${here}package-lock.json`, "utf8")) as {
        packages: Record<string, LockedPackage>;
      };
      const notices: string[] = [];
      for (const [path, locked] of Object.entries(lock.packages)) {
        if (path === "" || locked.dev === true || !existsSync(here + path)) continue;
        const manifest = JSON.parse(readFileSync(`${here}${path}/package.json`, "utf8")) as {
          license?: string;
        };
        const licence = locked.license ?? manifest.license ?? "";
        const file = readdirSync(here + path).find((name) => /^licen[cs]e/i.test(name));
        const text = file === undefined ? "" : readFileSync(`${here}${path}/${file}`, "utf8").trim();
        const name = path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length);
        if (!permissive.test(licence)) this.error(`${name}: licence "${licence}" is not permissive`);
        notices.push(`${name} ${locked.version ?? ""} (${licence})\n\n${text}\n`);
      }
      this.emitFile({
        type: "asset",
        fileName: "third-party-licences.txt",
        source: notices.join(`\n${"-".repeat(80)}\n\n`),
      });
    },
  };
}

export default defineConfig({
  plugins: [vue(), licences()],
  build: {
    outDir: "../greenhaul_cloud/console",
    emptyOutDir: true,
    target: "es2022",
    // MapLibre alone is about 1 MB; it is one page, loaded once and cached by its hashed name.
    chunkSizeWarningLimit: 1500,
  },
  worker: { format: "es" },
  test: { include: ["src/**/*.test.ts"], environment: "node" },
});
