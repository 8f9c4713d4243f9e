internal import Foundation
internal import Synchronization

/// Shows how far a long job is: one redrawn line on a terminal, else a plain line every few seconds.
public final class ProgressLine: Sendable {
  private let console: Console
  private let interval: TimeInterval
  private let state: Mutex<State>

  private struct State {
    var started = Date()
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
      guard now.timeIntervalSince(state.lastShown) >= interval else { return }
      // The first plain line waits its turn: short jobs stay silent in logs.
      if state.lastShown == .distantPast && !console.isTerminal {
        state.lastShown = now
        return
      }
      state.lastShown = now
      let seconds = max(now.timeIntervalSince(state.started), 0.001)
      let percent = total == 0 ? 100 : Int(Double(done) / Double(total) * 100)
      let rate = Double(done) / seconds
      var text = "\(phase) \(percent)%  \(unit.show(Double(done))) of \(unit.show(Double(total)))\(unit.name)"
      if unit == .bytes { text += "  \(unit.show(rate))/s" }
      if rate > 0, done < total { text += "  \(Int((Double(total - done) / rate).rounded(.up))) s left" }
      draw(text, &state)
    }
  }

  public enum Unit: Sendable {
    case bytes, layers

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
      case .layers: return "\(Int(value))"
      }
    }

    var name: String { self == .bytes ? "" : " layers" }
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
