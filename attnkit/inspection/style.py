"""The page's style sheet: system fonts, one accent, light and dark, nothing wider than the screen."""

CSS = """
:root{color-scheme:light dark;--paper:#fcfcfb;--raised:#fff;--ink:#1b2130;--soft:#59616f;--line:#e3e5e8;
--fill:#f2f3f5;--accent:#3a4fb0;--focus:#dfe5fb;--right:#17693a;--wrong:#a8321f;--mark:#fbe3dd;--known:#d9480f;
--sans:system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;
--mono:ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;
--c0:#3a4fb0;--c1:#c2570c;--c2:#0f766e;--c3:#9d2b6b;--c4:#6b7280;--c5:#7a5c00}
@media (prefers-color-scheme:dark){:root{--paper:#14161b;--raised:#1b1e24;--ink:#e6e8ec;--soft:#9ba3b0;
--line:#2e323a;--fill:#22262d;--accent:#9db2ff;--focus:#2b3660;--right:#7fd39b;--wrong:#ff9d8a;--mark:#5a2a22;
--known:#ffa94d;--c0:#9db2ff;--c1:#ffb36b;--c2:#5fd3c4;--c3:#f39ac7;--c4:#a3abb8;--c5:#e0c15a}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-behavior:smooth}
body{margin:0 auto;max-width:64rem;padding:2.5rem 1.25rem 4rem;background:var(--paper);color:var(--ink);
font:1rem/1.55 var(--sans);font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
h1,h2,h3,p,dl,dd,figure,ol,ul{margin:0;padding:0}
h1{font-size:clamp(1.6rem,5vw,2.25rem);line-height:1.15;letter-spacing:-.02em;font-weight:650;text-wrap:balance}
h2{font-size:1.3rem;letter-spacing:-.01em;font-weight:650;margin-bottom:1rem}
h3{font-size:.95rem;font-weight:600}
main section[id]{margin-top:3.25rem;scroll-margin-top:1rem}
.eyebrow{color:var(--soft);font-size:.85rem;margin-bottom:.4rem}
.about{max-width:42rem;margin:.9rem 0 1.25rem;color:var(--soft);display:grid;gap:.75rem}
nav{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;margin-top:2rem;padding:.7rem 0;
border-top:1px solid var(--line);border-bottom:1px solid var(--line);font-size:.9rem}
a{color:var(--accent);text-decoration:none}a:hover{text-decoration:underline}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
pre,code{font:.85rem/1.5 var(--mono)}
pre{margin:0;padding:.75rem 1rem;background:var(--fill);border-radius:8px;width:max-content;min-width:100%}
header pre{white-space:pre-wrap;width:auto}
.scroll{overflow-x:auto;max-width:100%;border-radius:8px}
.small-print{color:var(--soft);font-size:.85rem;margin-top:.6rem;max-width:46rem}
footer{margin-top:4rem;padding-top:1rem;border-top:1px solid var(--line);color:var(--soft);font-size:.85rem}
.hidden{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.defs{position:absolute;width:0;height:0}

.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.75rem,1fr));gap:.9rem;margin-top:1.5rem}
.card{padding:.9rem 1rem;border:1px solid var(--line);border-radius:12px;background:var(--raised)}
.card h3{font-weight:500;color:var(--soft)}
.card .split{font-weight:400}.card .split::before{content:"· "}
.value{font-size:1.4rem;line-height:1.3;font-weight:650;letter-spacing:-.02em}
.value small{font-size:.95rem;font-weight:500;letter-spacing:0}
.number{white-space:nowrap;overflow-wrap:normal}
.verdict-line{max-width:46rem;margin:0 0 1.25rem;font-size:1.1rem;font-weight:500}
.beside{color:var(--soft);font-size:.85rem}.beside b{font-weight:500}
.bar{position:relative;height:4px;border-radius:2px;background:var(--line);margin:.35rem 0 .6rem}
.bar b{position:absolute;inset:0 auto 0 0;border-radius:2px;background:var(--accent)}
.bar i{position:absolute;top:-3px;width:2px;height:10px;margin-left:-1px;background:var(--ink)}

table{border-collapse:collapse;width:100%;font-size:.92rem}
th,td{padding:.5rem 1.75rem .5rem 0;border-bottom:1px solid var(--line);text-align:right;
vertical-align:baseline;overflow-wrap:normal}
th:last-child,td:last-child{padding-right:0}
th{font-weight:500;text-align:left}thead th{color:var(--soft);font-size:.85rem;font-weight:400}
th.figure{text-align:right}td.words{text-align:left}td{white-space:nowrap}td.words{white-space:normal}
tbody tr:last-child>*{border-bottom:0}
.pivot td small,.note{display:block;color:var(--soft);font-size:.78rem;font-weight:400}
.pivot td b{font-weight:600}.pivot th small{color:var(--soft);font-weight:400}
.pivot th:first-child,.confusion th:first-child{position:sticky;left:0;background:var(--paper);
min-width:6.5rem;max-width:13rem;overflow-wrap:anywhere}
.confusion{width:auto}.confusion td.heat{padding:.5rem .75rem;border-radius:0}
#answers h3{margin-bottom:.5rem}#heads h3{margin:2rem 0 .5rem}
.notes{margin:0 0 1.25rem 1.1rem;max-width:46rem;display:grid;gap:.3rem}

.curves{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(26rem,100%),1fr));
gap:2.25rem 2rem}
.curve{min-width:0}
figcaption{display:flex;flex-wrap:wrap;justify-content:space-between;gap:.25rem 1.5rem;margin-bottom:.75rem}
.legend{display:flex;flex-wrap:wrap;gap:.15rem 1.25rem;list-style:none;font-size:.88rem;color:var(--soft)}
.legend b{color:var(--ink);font-weight:600}.bad{color:var(--wrong);font-style:normal}
.swatch{width:24px;height:8px;margin-right:.45rem;vertical-align:.1em}
.plot{position:relative;height:17rem;margin:0 .6rem 1.5rem 3.4rem}
.plot>svg{position:absolute;width:100%;height:100%;overflow:visible}
.tick{position:absolute;font-size:.78rem;line-height:1;color:var(--soft);white-space:nowrap}
.tick.x{top:calc(100% + .5rem);transform:translateX(-50%)}
.tick.y{right:calc(100% + .6rem);transform:translateY(50%)}
.axis-name{margin:-.1rem .6rem 0 3.4rem;text-align:center;font-size:.78rem;color:var(--soft)}
.plot path,.plot polyline{vector-effect:non-scaling-stroke}
.grid{stroke:var(--line);fill:none}
.line{fill:none;stroke-width:1.75;stroke-linejoin:round;stroke-linecap:round}
path.line.dot{stroke-width:6;stroke-dasharray:none}.band{stroke:none;opacity:.16}
.level{stroke:var(--soft);stroke-width:1.25;stroke-dasharray:2 4;fill:none}
.wrong{fill:none}path.wrong{stroke:var(--wrong);stroke-width:1.5}
.hovers rect{fill:transparent}.hovers rect:hover{fill:var(--ink);fill-opacity:.08}
.line0{stroke:var(--c0)}.line1{stroke:var(--c1);stroke-dasharray:7 4}
.line2{stroke:var(--c2);stroke-dasharray:1 4}
.line3{stroke:var(--c3);stroke-dasharray:9 4 1 4}.line4{stroke:var(--c4);stroke-dasharray:14 4}
.line5{stroke:var(--c5);stroke-dasharray:4 4}
.band.line0{fill:var(--c0)}.band.line1{fill:var(--c1)}.band.line2{fill:var(--c2)}.band.line3{fill:var(--c3)}
.band.line4{fill:var(--c4)}.band.line5{fill:var(--c5)}
.empty{color:var(--wrong)}

details summary{cursor:pointer;width:fit-content}
.numbers{font-size:.88rem;color:var(--soft);margin-top:.25rem}.numbers table{width:auto;margin-top:.5rem}
.numbers td{color:var(--ink)}
.folded{margin-top:1.25rem}.folded>summary{font-weight:600;font-size:.95rem}.folded>:last-child{margin-top:.75rem}

.samples{list-style:none;display:grid;grid-template-columns:repeat(auto-fill,minmax(min(26rem,100%),1fr));gap:1rem}
#samples>p{margin-bottom:1rem}
.samples li{position:relative;padding:.9rem 1.1rem;border:1px solid var(--line);border-radius:12px;
background:var(--raised);min-width:0}
.samples .wide{grid-column:1/-1}
.samples dl{display:grid;gap:.1rem}
.samples dt{font-size:.8rem;color:var(--soft)}.samples dd{margin-bottom:.45rem;white-space:pre-wrap}
.samples dd{max-height:15rem;overflow-y:auto}.samples dd:last-child{margin-bottom:0}
.of{color:var(--soft);font-size:.8rem;margin-bottom:.35rem}
.given-picture{display:block;height:7rem;max-width:100%;object-fit:contain;image-rendering:pixelated;
border-radius:6px;margin-bottom:.5rem}
.turn{display:block;width:fit-content;max-width:85%;padding:.3rem .7rem;margin:.2rem 0;border-radius:10px;
background:var(--fill)}
.turn.user{margin-left:auto;background:var(--focus)}
.verdict{position:absolute;top:.9rem;right:1.1rem;font-size:.85rem;font-weight:600}
.verdict.right{color:var(--right)}.verdict.wrong{color:var(--wrong)}
.prose{font:.88rem/1.6 var(--mono);white-space:pre-wrap}.given{color:var(--soft)}
mark{background:var(--mark);color:inherit;border-radius:3px;text-decoration:underline;text-underline-offset:3px}
.nothing{color:var(--soft);font-style:italic}

.facts{columns:17rem;column-gap:2.5rem}
.fact-group{margin-bottom:1.75rem}.fact-group h3{margin-bottom:.4rem;break-after:avoid}
.fact-group dl{font-size:.9rem}
.fact-group dl>div{display:flex;justify-content:space-between;gap:1rem;padding:.3rem 0;
border-bottom:1px solid var(--line);break-inside:avoid}
.fact-group dl>div:last-child{border-bottom:0}
.fact-group dt{color:var(--soft);flex:none;max-width:65%}.fact-group dd{text-align:right;min-width:0}

.tint{filter:url(#tint-light);image-rendering:pixelated}image{image-rendering:pixelated}
@media (prefers-color-scheme:dark){.tint{filter:url(#tint-dark)}}
.scale{max-width:22rem;margin-bottom:1.75rem;padding-right:.6rem}
.scale img{display:block;width:100%;height:10px;border-radius:2px;image-rendering:auto}
.ticks{position:relative;height:1.3rem}
.ticks span{position:absolute;top:.25rem;transform:translateX(-50%);font-size:.75rem;color:var(--soft)}
.ticks span:first-child{transform:none}
.look{border-top:1px solid var(--line);padding:1rem 0}
.look>summary{font-weight:600}.look>p{color:var(--soft);margin-top:.5rem;max-width:46rem}
.look>:last-child{padding-bottom:1rem}
.picker{position:relative;margin-top:1.1rem}
.pick{position:absolute;opacity:0;pointer-events:none}
.maps{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(var(--wide),100%),1fr));gap:.9rem 1.5rem;
padding:4px}
.map-row{font-size:.85rem}.map-row>span{display:block;margin:0 3px .2rem}
.map-row>div{display:flex;flex-wrap:wrap;gap:.25rem}
.map-row label{cursor:pointer;text-align:center;font-size:.75rem;line-height:1.4;color:var(--soft);
border-radius:6px;padding:3px}
.thumb{display:block;width:var(--thumb);height:var(--thumb);border-radius:3px}
.panel,.head-facts,.head{display:none}
.panel{margin-top:1.5rem}
dl.head-facts{flex-wrap:wrap;gap:.35rem 1.75rem;font-size:.88rem;margin:.5rem 0 0}
.head-facts>div{display:inline-block;margin-right:1.75rem}
.head-facts dt{color:var(--soft);font-size:.8rem}.head-facts dd{font-weight:500}
.head-facts span{font-weight:400;color:var(--soft)}
.axes{display:flex;gap:1.25rem;color:var(--soft);font-size:.85rem;margin-top:.9rem}
.map{display:flex;margin-top:.35rem;overflow-x:auto}
.map>svg{flex:none;display:block}
.rows{position:sticky;left:0;background:var(--paper);z-index:1}
.token{font:11px var(--mono);fill:var(--ink);unicode-bidi:isolate;white-space:pre}
.frame{fill:none;stroke:var(--line)}
.evidence{fill:none;stroke:var(--known);stroke-width:1.75;vector-effect:non-scaling-stroke;pointer-events:none}
.key-evidence{display:inline-block;width:11px;height:11px;border:2px solid var(--known);vertical-align:-1px}
.on-image{display:flex;flex-wrap:wrap;gap:.75rem;margin-top:.9rem}
.on-image figure{margin:0;text-align:center}.on-image svg{display:block;height:6.5rem;border-radius:3px}
.on-image figcaption{display:block;margin:.2rem 0 0;font:.75rem var(--mono);color:var(--soft)}
.marked{margin-top:.9rem;line-height:2;max-width:46rem;white-space:pre-wrap}
.heat{background:color-mix(in srgb,var(--accent) calc(var(--w)*70%),transparent);
border-radius:3px;padding:.1em 0}
.heat.known{box-shadow:0 2px 0 var(--known)}
.side-by-side{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(24rem,100%),1fr));gap:0 2rem}
.side-by-side>*{min-width:0}
.circuit .edge path{fill:none;stroke:var(--accent);opacity:.55}.circuit .edge:hover path{opacity:1}
.circuit text{font:.78rem var(--mono);fill:var(--ink)}.circuit .edge text{fill:var(--soft)}
.circuit .node rect{fill:var(--raised);stroke:var(--line);stroke-width:1.5}
.hatch{fill:var(--wrong)}.bad-cell{fill:url(#hatch)}
.taps{display:flex;flex-wrap:wrap;gap:.2rem .3rem;margin-top:.9rem;font:.82rem/1.5 var(--mono)}
.taps label{cursor:pointer;padding:.1rem .4rem;border-radius:5px;background:var(--fill);white-space:pre}
.taps input{position:absolute;opacity:0;pointer-events:none}
.taps label:has(:checked){background:var(--accent);color:var(--paper)}
.taps label:has(:focus-visible){outline:2px solid var(--accent)}
.taps .looked{display:none;order:1;flex-basis:100%;margin-top:.3rem;line-height:2}
.taps label:has(:checked)+.looked{display:block}
.looked b{white-space:nowrap;margin-right:.6rem;font-weight:500;border-radius:3px;padding:.1em .35em;
background:color-mix(in srgb,var(--accent) calc(var(--w)*70%),transparent)}
.looked .known{box-shadow:0 2px 0 var(--known)}.looked i{font-style:normal;opacity:.75}
@media (max-width:40rem){body{padding-top:1.5rem}.maps{max-height:27rem;overflow-y:auto}.opened{order:-1}

th,td{padding-right:1rem}td.words:last-child{min-width:11rem}
.pivot th:first-child{max-width:8rem}.plot,.axis-name{margin-left:2.9rem}.plot{height:14rem}}
@media print{nav,.maps{display:none}.scroll{overflow:visible}}
"""
