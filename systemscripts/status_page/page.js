(function () {
  "use strict";
  var page = document.documentElement, warning = document.getElementById("stale");
  function look() {
    var minutes = Math.floor((Date.now() - 1000 * Number(page.dataset.built)) / 60000);
    if (!warning || minutes < Number(page.dataset.stale)) { return; }
    var age = minutes < 120 ? minutes + " minutes" : minutes < 2880 ? Math.floor(minutes / 60) + " hours" : Math.floor(minutes / 1440) + " days";
    warning.textContent = "This page is " + age + " old. It should be renewed every 15 minutes: the machine, cron or the database may be down.";
    warning.hidden = false;
  }
  look();
  setInterval(look, 60000);
  function unfold() {
    var place = location.hash.length > 1 && document.getElementById(location.hash.slice(1)), folded = place && place.closest("details");
    if (folded) { folded.open = true; place.scrollIntoView(); }
  }
  unfold();
  window.addEventListener("hashchange", unfold);
  window.addEventListener("beforeprint", function () {
    document.querySelectorAll("details").forEach(function (folded) { folded.open = true; });
  });
  document.querySelectorAll("input[data-filter]").forEach(function (field) {
    field.parentNode.hidden = false;
    field.addEventListener("input", function () {
      var wanted = field.value.toLowerCase();
      document.querySelectorAll(field.dataset.filter).forEach(function (row) {
        row.hidden = row.textContent.toLowerCase().indexOf(wanted) < 0;
        var folded = row.closest("details");
        if (wanted && folded && !row.hidden) { folded.open = true; }
      });
    });
  });
}());
