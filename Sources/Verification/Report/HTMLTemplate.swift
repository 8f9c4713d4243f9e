/// The page of `report.html`, in Mustache. Colours: blue and vermilion of Okabe and Ito's palette, which colour-blind
/// readers tell apart; every verdict also has a word and a sign.
enum HTMLTemplate {
  /// Down to the warnings: what a report and a comparison begin with.
  static let head = """
    <!DOCTYPE html>
    <html lang="en">
    <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="color-scheme" content="light dark">
    <title>{{verdict}} · {{title}}</title>
    <style>
    \(HTMLTemplate.style)
    </style>
    </head>
    <body>
    <header class="{{verdictClass}}">
    <div class="inner">
    <div class="badge" aria-hidden="true">{{symbol}}</div>
    <div><p class="eyebrow">llama-verify · {{title}}</p>
    <h1>{{verdict}}</h1>
    <p class="headline">{{headline}}</p></div>
    </div>
    <dl class="facts">
    {{#facts}}<div><dt>{{name}}</dt><dd>{{value}}{{#hasNote}}<small>{{note}}</small>{{/hasNote}}</dd></div>
    {{/facts}}</dl>
    </header>
    <main>
    {{#hasWarnings}}<section class="warnings" aria-label="Warnings">
    {{#warnings}}<p><strong>Note</strong> {{text}}</p>
    {{/warnings}}</section>{{/hasWarnings}}
    """

  static let page = """
    \(head)
    <section>
    <h2>Gates</h2>
    <div class="card scroll"><table class="gates stack">
    <thead><tr><th>Gate</th><th>Outcome</th><th class="n">Value</th><th class="n">Bounds</th>
    <th class="n">Limit</th><th class="n">Margin</th><th><span class="hidden">Picture</span></th></tr></thead>
    <tbody>
    {{#gates}}<tr><td><strong>{{title}}</strong><br><small>{{explanation}}</small></td>
    <td><span class="chip {{class}}"><span aria-hidden="true">{{symbol}}</span> {{outcome}}</span></td>
    <td class="n" data-label="Value">{{value}}</td><td class="n" data-label="Bounds">{{interval}}</td>
    <td class="n" data-label="Limit">{{limit}}</td><td class="n" data-label="Margin">{{margin}}</td>
    <td>{{{bulletSVG}}}</td></tr>
    {{/gates}}</tbody></table></div>
    </section>
    {{#hasSuspects}}<section class="suspects">
    <h2>Suspects</h2>
    <div class="card"><ul>
    {{#suspects}}<li><code>{{name}}</code>: {{explanation}}</li>
    {{/suspects}}</ul>
    <p class="note">Where to look first: tensors far noisier than the same tensor of other layers, and layers in which the
    error of the residual stream jumps.</p></div>
    </section>{{/hasSuspects}}
    {{#hasBisection}}<section>
    <h2>Bisection</h2>
    <div class="card"><p>{{bisectSentence}}</p>
    <p class="note">{{bisectNote}}</p></div>
    <div class="card scroll"><table class="stack"><thead><tr><th>The base's in the candidate's place</th>
    <th class="n">Tensors</th><th class="n">Drift explained</th><th class="n">KLD left</th><th class="wide"></th></tr></thead><tbody>
    {{#bisect}}<tr><td><code>{{name}}</code></td><td class="n" data-label="Tensors">{{tensors}}</td>
    <td class="n" data-label="Drift explained">{{share}}</td><td class="n" data-label="KLD left">{{kld}}</td>
    <td><div class="meter"><div style="width:{{width}}%"></div></div></td></tr>
    {{/bisect}}</tbody></table></div>
    </section>{{/hasBisection}}
    <section class="tiles" aria-label="Figures">
    {{#tiles}}<div class="card tile"><p class="name">{{name}}</p><p class="value">{{value}}</p>
    <p class="note">{{note}}</p></div>
    {{/tiles}}</section>
    {{#hasCharts}}<section class="charts">
    {{#charts}}<figure class="card{{#isWide}} full{{/isWide}}"><figcaption><h2>{{title}}</h2></figcaption>
    {{{chartSVG}}}
    <p class="note">{{note}}</p></figure>
    {{/charts}}</section>{{/hasCharts}}
    {{#hasTensors}}<section>
    <h2>Noisiest tensors</h2>
    <div class="card scroll"><table class="stack"><thead><tr><th>Tensor</th><th class="n">SQNR</th><th class="n">Relative noise</th><th class="wide"></th></tr></thead><tbody>
    {{#tensors}}<tr><td><code>{{name}}</code></td><td class="n" data-label="SQNR">{{value}}</td><td class="n" data-label="Relative noise">{{noise}}</td>
    <td><div class="meter"><div style="width:{{width}}%"></div></div></td></tr>
    {{/tensors}}</tbody></table></div>
    </section>{{/hasTensors}}
    {{#hasWindows}}<section>
    <h2>Windows that drift most</h2>
    <div class="card scroll"><table class="stack"><thead><tr><th class="n">Window</th><th class="n">Tokens</th>
    <th class="n">Change</th><th class="n">Mean KLD</th><th class="n">Top-1</th><th>Around the token that drifts most</th></tr></thead><tbody>
    {{#windows}}<tr><td class="n" data-label="Window">{{window}}</td><td class="n" data-label="Tokens">{{tokens}}</td>
    <td class="n" data-label="Change">{{change}}</td><td class="n" data-label="Mean KLD">{{kld}}</td>
    <td class="n" data-label="Top-1">{{top1}}</td><td class="excerpt">{{excerpt}}<br><small>position {{position}}, {{drift}} nats</small></td></tr>
    {{/windows}}</tbody></table></div>
    </section>{{/hasWindows}}
    <section class="method">
    <h2>Method</h2>
    {{#method}}<p>{{text}}</p>
    {{/method}}</section>
    </main>
    <footer>llama-verify {{version}} · exit code {{exitCode}}</footer>
    </body>
    </html>

    """
}
