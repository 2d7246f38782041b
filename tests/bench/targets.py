"""What `make bench` is to reach, judged on its medians. The scenarios carry theirs themselves."""

from stage import Figures, flush_ms

CPU_MS = {1024: 0.28, 10240: 0.31, 102400: 1.8}
RATIO = {1024: 8, 10240: 7, 102400: 2.5}    # end to end, to tuned Postfix
BURST = 5                                   # accepted, to tuned Postfix
SHARE = 0.9                                 # of what the cores allow at that cost
SESSIONS = 100


def judge(result, ours, tuned, directory):
    """Prints each figure that a cell or the latency has a target for; returns them for the JSON."""
    figures = Figures("targets")
    for entry in result["cells"]:
        if entry["cell"]["sessions"] == SESSIONS and ours in entry["medians"]:
            judge_cell(figures, entry, entry["medians"][ours], entry["ratios"].get(tuned), result["cores"])
    for entry in result.get("latency", []):
        if entry["relay"] == ours and entry["reuse"]:
            judge_latency(figures, entry, flush_ms(directory))
    return figures.rows


def judge_cell(figures, entry, row, ratios, cores):
    size, reuse = entry["cell"]["size"], entry["cell"]["reuse"]
    name = f"{size // 1024} KB, {'reused' if reuse else 'new'}"
    if reuse and size in CPU_MS:
        most = CPU_MS[size]
        figures.add(f"{name}: CPU per message", row["relay_cpu_ms"], "ms", f"<= {most:g}", row["relay_cpu_ms"] <= most)
    allowed = 1000 * cores / (row["relay_cpu_ms"] + row["tools_cpu_ms"])
    share = row["end_to_end_per_s"] / allowed
    figures.add(f"{name}: end to end, of what the cores allow at that cost", share, "", f">= {SHARE:g}", share >= SHARE)
    figures.add(f"{name}: accepted against end to end", row["accepted_per_s"] / row["end_to_end_per_s"], "x", ">= 1",
                row["accepted_per_s"] >= row["end_to_end_per_s"])
    if ratios and reuse and size in RATIO:
        least = RATIO[size]
        figures.add(f"{name}: end to end against tuned Postfix", ratios["end_to_end"], "x", f">= {least:g}",
                    ratios["end_to_end"] >= least)
        figures.add(f"{name}: accepted against tuned Postfix", ratios["accepted"], "x", f">= {BURST:g}",
                    ratios["accepted"] >= BURST)


def judge_latency(figures, entry, disk):
    to_250, to_sink = entry["to_250_ms"], entry["to_sink_ms"]
    figures.add("single message, dot to 250, p50", to_250["p50"], "ms", f"<= {disk + 0.5:.2f}", to_250["p50"] <= disk + 0.5)
    figures.add("single message, 250 to arrival, p50", to_sink["p50"], "ms", "<= 5", to_sink["p50"] <= 5)
    figures.add("single message, 250 to arrival, p99", to_sink["p99"], "ms", "<= 30", to_sink["p99"] <= 30)
