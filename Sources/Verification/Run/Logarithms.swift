internal import Foundation

enum Logarithms {
  static func decimal(_ x: Double) -> Double { log10(x) }
}
