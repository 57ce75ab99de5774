"""The page's style sheet and its few lines of script: draw figures, sort a table by a click."""

SHEET = """
:root{--ink:#22303a;--soft:#5d6b74;--line:#dde3e6;--paper:#fff;--wash:#f5f7f8;--blue:#0072b2;
--good:#0b7a55;--good-wash:#e2f4ec;--bad:#b03124;--bad-wash:#fbe9e6;--dull:#6b767c;
--dull-wash:#eceff1;--warn:#8a5a00;--warn-wash:#fdf3dc}
*{box-sizing:border-box}
html{scroll-padding-top:52px}
body{margin:0;background:var(--wash);color:var(--ink);
font:14px/1.5 Inter,"Helvetica Neue",Arial,sans-serif;-webkit-font-smoothing:antialiased}
main,header .in,nav .in{max-width:1180px;margin:0 auto;padding:0 24px}
header{background:var(--paper);padding:26px 0 18px}
.over{color:var(--soft);font-size:12px;letter-spacing:.06em;text-transform:uppercase}
h1{font-size:27px;line-height:1.2;margin:2px 0 8px;letter-spacing:-.01em}
h1 small{font-weight:400;color:var(--soft);font-size:20px}
.lead{margin:0 0 12px;color:var(--soft)}
.badges{display:flex;flex-wrap:wrap;gap:8px;margin:10px 0 0}
.badge{border-radius:5px;padding:3px 10px;font-weight:600;font-size:12.5px;white-space:nowrap}
.good{background:var(--good-wash);color:var(--good)}.bad{background:var(--bad-wash);color:var(--bad)}
.dull{background:var(--dull-wash);color:var(--dull)}.warn{background:var(--warn-wash);color:var(--warn)}
nav{position:sticky;top:0;z-index:9;background:rgba(255,255,255,.96);
border-top:1px solid var(--line);border-bottom:1px solid var(--line)}
nav .in{display:flex;gap:20px;overflow-x:auto;height:42px;align-items:center}
nav a{color:var(--soft);text-decoration:none;white-space:nowrap;font-size:13px}
nav a:hover{color:var(--blue)}
.tiles{display:grid;
grid-template-columns:repeat(auto-fit,minmax(148px,1fr));gap:10px;margin:18px 0 4px}
.tile{background:var(--paper);border:1px solid var(--line);border-radius:8px;padding:10px 14px}
.tile b{display:block;font-size:21px;font-weight:600;font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:12px}
h2{font-size:18px;margin:30px 0 10px;letter-spacing:-.005em}
.grid{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:14px}
.panel{background:var(--paper);border:1px solid var(--line);border-radius:8px;
padding:14px 18px 12px;min-width:0}
.wide{grid-column:1/-1}
h3{font-size:15px;margin:0 0 2px}
.reading{color:var(--soft);margin:0 0 8px;font-size:12.5px}
.remark{margin:6px 0 2px;font-size:12.5px;color:var(--soft)}
.chart{width:100%}
.scroll{overflow:auto;max-height:460px;margin:6px 0}
table{border-collapse:collapse;width:100%;font-size:12.5px;font-variant-numeric:tabular-nums}
th,td{padding:4px 10px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th{position:sticky;top:0;background:var(--paper);font-weight:600;color:var(--soft);cursor:pointer}
th:first-child,td:first-child,td.text,th.text{text-align:left}
table.gates td{vertical-align:top;white-space:normal;text-align:left}
table.gates td.value{white-space:nowrap}
table.gates th{text-align:left;cursor:default}
.pill{display:inline-block;border-radius:4px;padding:1px 8px;font-weight:600;font-size:12px;
white-space:nowrap}
code,.mono{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:12px}
.lock{border-radius:8px;border:1px solid var(--line);background:var(--paper);padding:12px 18px;
border-left-width:5px}
.lock.shut{border-left-color:var(--bad)}.lock.open{border-left-color:var(--good)}
.lock h3{margin-bottom:4px}.lock ul{margin:4px 0 0;padding-left:18px}
.lock li{margin:3px 0;overflow-wrap:anywhere}
.facts{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:3px 18px;margin:6px 0;
font-size:12.5px}
.facts dt{color:var(--soft)}.facts dd{margin:0;overflow-wrap:anywhere}
footer{color:var(--soft);font-size:12px;padding:26px 0 40px}
@media(max-width:860px){.grid{grid-template-columns:1fr}}
@media print{body{background:#fff}nav{display:none}.panel,.tile,.lock{break-inside:avoid}
.scroll{max-height:none;overflow:visible}h2{break-after:avoid}
main,header .in{max-width:none;padding:0 8px}}
"""

SCRIPT = """
document.querySelectorAll('script[type="application/json"][data-chart]').forEach(function(s){
  var f=JSON.parse(s.textContent);
  Plotly.newPlot(s.dataset.chart,f.data,f.layout,
    {responsive:true,displaylogo:false,modeBarButtonsToRemove:['lasso2d','select2d']});
});
document.querySelectorAll('table.sorted th').forEach(function(th){
  th.addEventListener('click',function(){
    var t=th.closest('table'),i=th.cellIndex,up=th.dataset.up!=='1',b=t.tBodies[0];
    t.querySelectorAll('th').forEach(function(o){delete o.dataset.up});
    th.dataset.up=up?'1':'0';
    Array.from(b.rows).sort(function(x,y){
      var p=x.cells[i].dataset.v,q=y.cells[i].dataset.v,d=p-q;
      if(p===''||q==='')return (p==='')-(q==='');
      if(isNaN(d))d=p<q?-1:p>q?1:0;
      return up?d:-d;
    }).forEach(function(r){b.appendChild(r)});
  });
});
window.addEventListener('beforeprint',function(){
  document.querySelectorAll('.chart').forEach(function(c){Plotly.Plots.resize(c)});
});
"""
