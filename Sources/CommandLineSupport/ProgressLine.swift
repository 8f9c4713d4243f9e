internal import Foundation
internal import Synchronization

/// Shows how far a long job is: one redrawn line on a terminal, else a plain line every few seconds.
public final class ProgressLine: Sendable {
  private let console: Console
  private let interval: TimeInterval
  private let state: Mutex<State>

  private struct State {
    var pace = Pace()
    var lastShown = Date.distantPast
    var isDrawn = false
  }

  public init(console: Console) {
    self.console = console
    interval = console.isTerminal ? 0.1 : 5
    state = Mutex(State())
  }

  /// Reports `done` of `total` units of the phase. Bytes are shown as sizes, other units as they are.
  public func update(_ phase: String, done: UInt64, total: UInt64, unit: Unit = .bytes) {
    guard !console.isQuiet else { return }
    state.withLock { state in
      let now = Date()
      state.pace.note(phase, done: done, at: now.timeIntervalSinceReferenceDate)
      guard now.timeIntervalSince(state.lastShown) >= interval else { return }
      // The first plain line waits its turn: short jobs stay silent in logs.
      if state.lastShown == .distantPast && !console.isTerminal {
        state.lastShown = now
        return
      }
      state.lastShown = now
      let percent = total == 0 ? 100 : Int(Double(done) / Double(total) * 100)
      let rate = state.pace.rate
      var text = "\(phase) \(percent)%  \(unit.show(Double(done))) of \(unit.show(Double(total)))\(unit.name)"
      if unit == .bytes, rate > 0 { text += "  \(unit.show(rate))/s" }
      if rate > 0, done < total { text += "  \(Pace.text(seconds: Double(total - done) / rate)) left" }
      draw(text, &state)
    }
  }

  public enum Unit: Sendable {
    case bytes, layers, passes

    func show(_ value: Double) -> String {
      switch self {
      case .bytes:
        let units = ["B", "kB", "MB", "GB", "TB"]
        var value = value
        var index = 0
        while value >= 1000 && index < units.count - 1 {
          value /= 1000
          index += 1
        }
        return index == 0 ? "\(Int(value)) B" : "\((value * 10).rounded() / 10) \(units[index])"
      case .layers, .passes: return "\(Int(value))"
      }
    }

    var name: String {
      switch self {
      case .bytes: ""
      case .layers: " layers"
      case .passes: " passes at most"
      }
    }
  }

  private func draw(_ text: String, _ state: inout State) {
    let line = console.isTerminal ? "\r\u{1B}[K\(console.program): \(text)" : "\(console.program): \(text)\n"
    Console.tell(line)
    state.isDrawn = console.isTerminal
  }

  /// Clears the redrawn line.
  public func finish() {
    state.withLock { state in
      if state.isDrawn { Console.tell("\r\u{1B}[K") }
      state.isDrawn = false
    }
  }
}

/// How fast a phase goes: what was done before it was first told of (layers that a run before has left) took no time, and
/// is no measure.
struct Pace: Sendable {
  private var phase = ""
  private var start = (done: UInt64(0), seconds: 0.0)
  private var latest = (done: UInt64(0), seconds: 0.0)

  /// Steps of a phase that are slower than these seconds are measured by themselves, fast ones before them left out.
  private static let slowStep = 1.0

  mutating func note(_ phase: String, done: UInt64, at seconds: Double) {
    defer { latest = (done, seconds) }
    guard phase == self.phase, done >= latest.done else {
      self.phase = phase
      start = (done, seconds)
      return
    }
    // Resumed work: everything so far went by in no time, and now it takes its time.
    let (before, now) = (latest.seconds - start.seconds, seconds - latest.seconds)
    if now > Self.slowStep, before < Self.slowStep / 4, latest.done > start.done { start = latest }
  }

  /// Units per second; 0 as long as nothing is known.
  var rate: Double {
    let seconds = latest.seconds - start.seconds
    return seconds > 0 && latest.done > start.done ? Double(latest.done - start.done) / seconds : 0
  }

  static func text(seconds: Double) -> String {
    let whole = Int(min(seconds, 1e9).rounded(.up))
    if whole < 120 { return "\(whole) s" }
    if whole < 7200 { return "\(whole / 60) min" }
    return "\(whole / 3600) h \(whole % 3600 / 60) min"
  }
}
