extension HTMLTemplate {
  static let style = """
    :root { --page: #f6f7f9; --card: #ffffff; --ink: #16191d; --soft: #5b6470; --rule: #dfe3e8; --grid: #e9ecf0;
      --blue: #0072b2; --blue-soft: rgba(0,114,178,.18); --red: #a84300; --amber: #8a6100; --grey: #5b6470;
      --green: #00704f; --heat: #0072b2; }
    @media (prefers-color-scheme: dark) {
      :root { --page: #101317; --card: #191d23; --ink: #e8ebef; --soft: #9aa4b1; --rule: #2c323b; --grid: #262c34;
        --blue: #56b4e9; --blue-soft: rgba(86,180,233,.22); --red: #f0863d; --amber: #e6b422; --grey: #9aa4b1;
        --green: #2fbf93; --heat: #2b7db0; } }
    * { box-sizing: border-box; }
    body { margin: 0; background: var(--page); color: var(--ink);
      font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
    header { border-bottom: 1px solid var(--rule); background: var(--card); border-top: 6px solid var(--tone); }
    .pass { --tone: var(--green); } .fail { --tone: var(--red); }
    .inconclusive { --tone: var(--amber); } .none { --tone: var(--grey); }
    .inner, main, footer { max-width: 1120px; margin: 0 auto; padding: 0 24px; }
    .inner { display: flex; gap: 22px; align-items: center; padding-top: 26px; padding-bottom: 20px; }
    .badge { flex: none; width: 68px; height: 68px; border-radius: 50%; background: var(--tone); color: var(--card);
      display: grid; place-items: center; font-size: 36px; font-weight: 700; line-height: 1; }
    h1 { margin: 0; font-size: 34px; line-height: 1.15; letter-spacing: .01em; color: var(--tone); }
    h2 { font-size: 16px; margin: 0 0 10px; }
    p { margin: 0; }
    .eyebrow, .note, small, footer, .name { color: var(--soft); }
    .eyebrow, .note, small, .name { font-size: 13px; }
    h2, p, li, td, small { overflow-wrap: anywhere; }
    .headline { font-size: 17px; margin-top: 4px; }
    section { margin: 26px 0; }
    .card { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 16px 18px; margin: 0; }
    .scroll { overflow-x: auto; padding: 4px 18px; }
    .warnings p { border-left: 4px solid var(--amber); background: var(--card); padding: 10px 14px; margin: 8px 0;
      border-radius: 0 8px 8px 0; }
    table { border-collapse: collapse; width: 100%; }
    th { text-align: left; font-size: 13px; font-weight: 600; color: var(--soft); }
    th, td { padding: 9px 14px 9px 0; border-bottom: 1px solid var(--rule); vertical-align: middle; }
    tbody tr:last-child > * { border-bottom: 0; }
    .n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
    .facts { max-width: 1120px; margin: 0 auto; padding: 0 24px 22px; display: grid; gap: 10px 26px;
      grid-template-columns: repeat(auto-fit, minmax(min(300px, 100%), 1fr)); }
    .facts > div { border-top: 1px solid var(--rule); padding-top: 8px; min-width: 0; }
    dt { color: var(--soft); font-size: 12px; font-weight: 600; } dd { margin: 0; overflow-wrap: anywhere; }
    dd small { display: block; font-size: 12px; line-height: 1.4; }
    .wide { width: 40%; }
    figure.card { overflow-x: auto; } .full { grid-column: 1 / -1; }
    .excerpt { font-size: 13px; min-width: 260px; } .suspects li { margin: 6px 0; } .suspects ul { margin: 0; padding-left: 22px; }
    a { color: var(--blue); } .forest { width: 150px; } .wider th, .wider td { padding-right: 10px; } .detail, .card + .card:not(.tile):not(figure) { margin: 12px 0; } .detail ul { margin: 8px 0; }
    .gates td:first-child { min-width: 220px; }
    .chip { display: inline-block; border: 1.5px solid var(--tone); color: var(--tone); border-radius: 999px;
      padding: 1px 11px; font-size: 12px; font-weight: 700; white-space: nowrap; }
    .tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(210px, 45%), 1fr)); gap: 14px; }
    .tile .value { font-size: 25px; font-weight: 650; font-variant-numeric: tabular-nums; letter-spacing: -.01em; }
    .charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr)); gap: 14px; }
    .plot { width: 100%; height: auto; display: block; }
    .bullet { width: 140px; height: 20px; display: block; }
    .grid { stroke: var(--grid); } .axis { stroke: var(--soft); }
    .tick, .note, .label { fill: var(--soft); } .tick { font-size: 12px; } .label, svg .note { font-size: 12.5px; }
    .line { fill: none; stroke: var(--blue); stroke-width: 2.2; stroke-linejoin: round; }
    .band { fill: var(--blue-soft); } .zero { stroke: var(--soft); stroke-width: 1; }
    .limit { stroke: var(--red); stroke-width: 2; stroke-dasharray: 6 4; }
    .bullet .limit { stroke-dasharray: none; }
    .mark { fill: var(--blue); } .interval { fill: var(--blue-soft); stroke: var(--blue); }
    .bar:not(.better) { fill: var(--blue); opacity: .85; } .bar.better { stroke: var(--blue); }
    .hatch { stroke: var(--blue); stroke-width: 1.6; } .equal { stroke: var(--grid); stroke-width: 2; }
    .heat { fill: var(--heat); } .cell { fill: var(--ink); font-size: 11.5px; text-anchor: middle; }
    .whisker { fill: none; stroke: var(--ink); stroke-width: 1.3; }
    .meter { background: var(--grid); border-radius: 4px; height: 9px; }
    .meter div { background: var(--blue); border-radius: 4px; height: 9px; }
    code { font: 13px ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
    .method p { color: var(--soft); font-size: 13px; max-width: 78ch; margin: 0 0 8px; }
    .hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
    footer { padding-top: 4px; padding-bottom: 34px; font-size: 13px; }
    @media (max-width: 560px) {
      .plot { min-width: 440px; }
      .stack thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
      .stack, .stack tbody, .stack tr, .stack td { display: block; width: auto; }
      .stack tr { border-bottom: 1px solid var(--rule); padding: 8px 0; } .stack tr:last-child { border-bottom: 0; }
      .stack td { border: 0; padding: 3px 0; text-align: left; white-space: normal; min-width: 0; }
      .stack td[data-label]::before { content: attr(data-label) ": "; color: var(--soft); font-size: 13px; }
      .inner { align-items: flex-start; } .badge { width: 48px; height: 48px; font-size: 26px; }
      .inner, .facts, main, footer { padding-left: 14px; padding-right: 14px; } }
    @media print {
      body { background: #fff; font-size: 12px; } * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
      .card, figure, tr { break-inside: avoid; } h2 { break-after: avoid; } .scroll, figure.card { overflow: visible; }
      .charts { grid-template-columns: 1fr 1fr; } section { margin: 16px 0; }
    }
    """
}
