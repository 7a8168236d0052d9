"""How the page looks: one style sheet for light and dark, wide and narrow."""

from __future__ import annotations

from hashcenters.report.charts import N_STYLES

__all__ = ["STYLE"]

_COLORS = (  # light, dark; after M. A. Petroff, arXiv:2107.02270
    ("#2f7fc9", "#6cb4f5"), ("#bd1f01", "#ff7b61"), ("#b87400", "#ffb94a"), ("#832db6", "#c68be8"),
    ("#5d626c", "#b3b8c2"), ("#d05a00", "#ff9a52"), ("#8a5346", "#d3a294"), ("#1d8a8f", "#74d6da"),
)  # fmt: skip

_SHEET = """
:root { color-scheme: light dark; --ground: #fff; --card: #f6f7f9; --ink: #1c2026; --soft: #5b6470; --rule: #dcdfe4;
  --right: #1b7837; --wrong: #c51b1b; --warn: #fff4d6; --warn-ink: #5f4300; LIGHT }
@media (prefers-color-scheme: dark) { :root { --ground: #15181c; --card: #1f2329; --ink: #e6e8eb; --soft: #a2abb6;
  --rule: #363c45; --right: #5fc27e; --wrong: #ff7a70; --warn: #3d3114; --warn-ink: #ffe2a0; DARK } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1360px; padding: 16px; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; margin: 0.4em 0; } h2 { font-size: 1.3rem; margin: 1.8em 0 0.5em; }
h3 { font-size: 1.05rem; margin: 1.4em 0 0.4em; }
section { border-top: 1px solid var(--rule); padding-bottom: 12px; margin-top: 12px; } a { color: inherit; }
.soft { color: var(--soft); font-size: 0.9rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: 0.88rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: 5px 12px 5px 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--rule); }
.summary th, .summary td { white-space: nowrap; overflow-wrap: normal; } th { color: var(--soft); font-weight: 600; }
.summary td:first-child { white-space: normal; min-width: 11em; max-width: 18em;
  overflow-wrap: anywhere; }
.summary td:last-child { white-space: normal; min-width: 8em; }
.summary { font-size: 0.82rem; }
.number { text-align: right; } .main { font-weight: 700; }
ul.warnings { list-style: none; margin: 0.6em 0; padding: 8px 12px; background: var(--warn); color: var(--warn-ink);
  border-radius: 6px; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 300px), 1fr)); gap: 12px; }
.charts > * { max-width: 480px; width: 100%; }
figure { margin: 0; } figcaption { font-size: 0.9rem; }
.chart text { fill: var(--soft); font-size: 12px; } .grid { stroke: var(--rule); stroke-width: 1; }
.chart path { fill: none; stroke-width: 2; stroke-linejoin: round; } .chart circle { stroke: none; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 2px 18px; padding: 0; margin: 0.5em 0;
  font-size: 0.9rem; }
.legend svg { width: 34px; height: 10px; vertical-align: middle; margin-right: 6px; }
.legend path { stroke-width: 2.5; }
.heat { display: block; max-width: min(100%, 560px); height: auto; background: #fff; border-radius: 6px; }
.query { margin: 14px 0 20px; } .query > p { margin: 0 0 6px; }
.row { display: grid; grid-template-columns: repeat(auto-fill, minmax(92px, 1fr)); gap: 8px; }
.tile { min-width: 0; font-size: 0.75rem; line-height: 1.3; }
.frame { position: relative;
  aspect-ratio: 1; background: var(--card); border: 3px solid var(--soft); border-radius: 4px;
  display: flex; align-items: center; justify-content: center; overflow: hidden; text-align: center; }
.frame img { width: 100%; height: 100%; object-fit: contain; }
.right .frame { border: 3px solid var(--right); } .wrong .frame { border: 3px dashed var(--wrong); }
.mark { position: absolute; top: 2px; right: 2px; width: 18px; height: 18px; border-radius: 9px; color: #fff;
  font: 700 12px/18px sans-serif; } .right .mark { background: #1b7837; } .wrong .mark { background: #c51b1b; }
.tile figcaption { font-size: inherit; }
.name { display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2;
  overflow: hidden; color: var(--soft); }
pre { white-space: pre-wrap; background: var(--card); padding: 10px; border-radius: 6px; font-size: 0.82rem; }
details { margin: 0.8em 0; } summary { cursor: pointer; }
.pair { display: flex; flex-wrap: wrap; gap: 8px 40px; }
"""

_LIGHT, _DARK = (" ".join(f"--s{i}: {pair[mode]};" for i, pair in enumerate(_COLORS)) for mode in (0, 1))
_LINES = "\n".join(
    f"path.s{i} {{ stroke: var(--s{i}); }} circle.s{i} {{ fill: var(--s{i}); }}" for i in range(N_STYLES)
)
STYLE = _SHEET.replace("LIGHT", _LIGHT).replace("DARK", _DARK) + _LINES
